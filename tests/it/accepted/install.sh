#!/bin/sh
set -eu

prefix=${PREFIX:-/usr/local}
name=tool

fail() {
    echo "install: $1" >&2
    exit 1
}

for program in tar install; do
    if ! command -v "$program" >/dev/null; then
        fail "$program is missing"
    fi
done

if [ ! -d "$prefix/bin" ]; then
    mkdir -p "$prefix/bin"
fi
install -m 755 "$name" "$prefix/bin/$name"
case $(uname) in
    Linux)
        echo "installed"
        ;;
    *)
        echo "not tested here"
        ;;
esac
