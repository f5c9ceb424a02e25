#!/usr/bin/env bash
# Builds llama.cpp, the peer that `lacuna bench decode --against llama.cpp` runs beside us. Never vendored: the source is that of
# the package llama-cpp-python 0.3.36 on PyPI, fetched here, its hash checked, and everything lands under target/peers.
#
#   tests/peers/llama_cpp.sh [native|vnni|avx2]…      (default: native)
#
# native  -march=native: AMX where the machine has it   target/peers/llama.cpp-native/bin/llama-bench
# vnni    AVX-512 VNNI, no AMX                           target/peers/llama.cpp-avx512/bin/llama-bench
# avx2    AVX2 + FMA + F16C, nothing of AVX-512          target/peers/llama.cpp-avx2/bin/llama-bench
#
# clang 19 or newer, because Debian's gcc 12 miscompiles the AMX path (a general protection fault at ldtilecfg): with it the
# comparison would not be fair, or would crash. Missing tools are installed when this runs as root on a machine with apt.
# LACUNA_PEERS: another folder for everything. JOBS: how many compilers at once (default: the number of cores).
set -euo pipefail

version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
archive=llama_cpp_python-$version.tar.gz
root=$(cd "$(dirname "$0")/../.." && pwd)
peers=${LACUNA_PEERS:-$root/target/peers}
jobs=${JOBS:-$(nproc)}

say() { printf 'llama_cpp.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

variants=("$@")
[ ${#variants[@]} -gt 0 ] || variants=(native)
for variant in "${variants[@]}"; do
    case $variant in native | vnni | avx2) ;; *) fail "$variant is not a variant: use native, vnni or avx2" ;; esac
done

# The newest clang of at least 19, as its version suffix ("-19", or "" for plain `clang`).
clang_suffix() {
    local suffix major
    for suffix in -22 -21 -20 -19 ""; do
        command -v "clang++$suffix" >/dev/null || continue
        major=$("clang$suffix" -dumpversion | cut -d. -f1)
        if [ "$major" -ge 19 ]; then
            echo "$suffix"
            return 0
        fi
    done
    return 1
}

install_tools() {
    if clang_suffix >/dev/null && command -v cmake >/dev/null && command -v ninja >/dev/null; then return; fi
    local packages="clang-19 cmake ninja-build libomp-19-dev"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "clang >= 19, cmake and ninja are needed: install them (Debian: apt install $packages)"
    fi
    say "installing $packages"
    apt-get update -qq >&2
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >&2
    clang_suffix >/dev/null || fail "clang >= 19 is still missing after apt-get install"
}

# The source archive: straight from the index, so that pip need not build the build requirements of a package we do not build;
# pip as a fallback, for indexes that want its settings.
fetch() {
    mkdir -p "$peers/cache"
    local file=$peers/cache/$archive index=${PIP_INDEX_URL:-https://pypi.org/simple} url
    if [ ! -f "$file" ]; then
        say "fetching $archive"
        url=$(curl -fsSL "${index%/}/llama-cpp-python/" | grep -o "href=\"[^\"#]*$archive" | head -n 1 | cut -c 7-) || url=
        case $url in http*) ;; *) url= ;; esac
        if [ -z "$url" ] || ! curl -fsSL "$url" -o "$file.part"; then
            (cd "$peers/cache" && pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version" >&2) ||
                fail "$archive cannot be fetched: download it yourself into $peers/cache"
            [ -f "$file" ] || fail "pip left no $archive in $peers/cache"
        else
            mv "$file.part" "$file"
        fi
    fi
    if ! echo "$sha256  $file" | sha256sum --check --status; then
        fail "$file does not have the expected hash: remove it and run this again"
    fi
    [ -f "$peers/llama_cpp_python-$version/.unpacked" ] && return
    say "unpacking"
    rm -rf "$peers/llama_cpp_python-$version"
    tar -xzf "$file" -C "$peers"
    touch "$peers/llama_cpp_python-$version/.unpacked"
}

# Configures and builds one variant: folder, targets, cmake options.
build() {
    local folder=$peers/$1 targets=$2 suffix
    shift 2
    suffix=$(clang_suffix)
    say "building $folder with clang$suffix"
    # No user interface, no TLS, no tests: three programs and the libraries they load.
    CC=clang$suffix CXX=clang++$suffix nice -n 5 cmake -S "$peers/llama_cpp_python-$version/vendor/llama.cpp" -B "$folder" -G Ninja \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_CCACHE=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF "$@" >"$folder.log" 2>&1 ||
        fail "cmake failed: see $folder.log"
    # shellcheck disable=SC2086
    nice -n 5 cmake --build "$folder" --parallel "$jobs" --target $targets >>"$folder.log" 2>&1 || fail "the build failed: see $folder.log"
    "$folder/bin/llama-bench" --help >/dev/null || fail "$folder/bin/llama-bench does not run: see $folder.log"
    say "ready: $folder/bin/llama-bench"
}

avx2="-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
avx512="-DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON"
no_avx512="-DGGML_AVX512=OFF -DGGML_AVX512_VBMI=OFF -DGGML_AVX512_VNNI=OFF -DGGML_AVX512_BF16=OFF -DGGML_AVX_VNNI=OFF"
no_amx="-DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF"

install_tools
fetch
for variant in "${variants[@]}"; do
    # shellcheck disable=SC2086
    case $variant in
    native) build llama.cpp-native "llama-bench llama-quantize llama-server" -DGGML_NATIVE=ON ;;
    vnni) build llama.cpp-avx512 "llama-bench" $avx2 $avx512 $no_amx ;;
    avx2) build llama.cpp-avx2 "llama-bench" $avx2 $no_avx512 $no_amx ;;
    esac
done
