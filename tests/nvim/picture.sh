#!/usr/bin/env bash
# docs/images/neovim.png: a real screen of Neovim in a terminal (tmux), drawn by Chromium. Needs tmux and chromium.
# Usage: LACUNA_BIN=… tests/nvim/picture.sh OUT.png
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
nvim=${NVIM:-$("$here/install.sh")}
dir=$(mktemp -d)
tmux=(tmux -L "lacuna-picture-$$" -f /dev/null)
trap '"${tmux[@]}" kill-server 2>/dev/null || true; rm -rf "$dir"' EXIT

# The cursor waits where a method has just been begun.
{
    sed -n '7,23p' "${here%/tests/nvim}/datasets/samples/in_progress.py" | sed 's/= gra$/= grades/; s/append($/append(grade)/; s/len($/len(self.grades)/'
    printf '\n    def median(self):\n        \n'
} >"$dir/grades.py"
cat >"$dir/init.lua" <<EOF
vim.opt.runtimepath:prepend("${here%/tests/nvim}/editors/nvim")
vim.g.loaded_python3_provider = 0
vim.o.number, vim.o.termguicolors, vim.o.laststatus, vim.o.showmode = true, true, 2, true
vim.o.statusline = " %f %m%=%{v:lua.require'lacuna'.statusline()} "
require("lacuna").setup({ cmd = { "$(realpath "$LACUNA_BIN")", "lsp" }, settings = { latency = { deadline_ms = 0 } } })
EOF
cd "$dir"
"${tmux[@]}" -u new-session -d -x 92 -y 28 env HOME="$dir" TERM=tmux-256color COLORTERM=truecolor LANG=C.UTF-8 "$nvim" -u "$dir/init.lua" -i NONE -n grades.py
"${tmux[@]}" set -g default-terminal tmux-256color
screen() { "${tmux[@]}" capture-pane -p; }
wait_for() { for _ in $(seq 500); do screen | grep -q -- "$1" && return; sleep 0.02; done; screen; echo "never seen: $1" >&2; exit 1; }
wait_for 'def median'
wait_for 'lacuna *$'
"${tmux[@]}" send-keys GA
wait_for 'lacuna: [0-9]* ms'
"${tmux[@]}" capture-pane -e -p >"$dir/screen.ansi"
python3 "$here/picture.py" "$dir/screen.ansi" >"$dir/screen.html"
"${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=860,600 --force-device-scale-factor=1 \
    --screenshot="$out" "file://$dir/screen.html" >/dev/null 2>&1
ls -l "$out"
