#!/usr/bin/env bash
# Tests what build.sh has made, each in an empty folder with an empty environment.
#
# usage: test.sh OUT
set -euo pipefail
out=$(cd "${1:?usage: test.sh OUT}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

fail() { echo "dist: $*" >&2; exit 1; }
passed() { echo "dist: ok       $*" >&2; }
skipped() { echo "dist: skipped  $*" >&2; }

cat > "$work/demo.toml" <<TOML
[source]
type = "synthetic_events"
rows = 1000
from = "2024-01-01"
to = "2024-01-14"
[sink]
type = "duckdb"
path = "demo.db"
TOML

# works HOME COMMAND…: runs a pipeline, asks the database, and reads a help page.
works() {
    local home=$1; shift
    mkdir -p "$home"; cp "$work/demo.toml" "$home"
    local run=(env -i -C "$home" HOME="$home" "$@")
    "${run[@]}" --version | grep -q '^mixflow [0-9]' || fail "$1: no version"
    "${run[@]}" check -q demo.toml
    "${run[@]}" run -q demo.toml
    local rows; rows=$("${run[@]}" query --db demo.db --scalar 'SELECT count(*) FROM events')
    [ "$rows" = 1000 ] || fail "$1: $rows rows instead of 1000"
    "${run[@]}" run --help > "$home/help"
    [ -s "$home/help" ] || fail "$1: no help"
}

# complete PREFIX: everything that a person looks for is there.
complete() {
    local share=$1/share
    [ "$(find "$share/man/man1" -name 'mixflow*' | wc -l)" -gt 20 ] || fail "$1: no manual pages"
    for file in bash-completion/completions/mixflow fish/vendor_completions.d/mixflow.fish \
        doc/mixflow/LICENSE-MIT doc/mixflow/LICENSE-APACHE doc/mixflow/THIRD-PARTY.txt; do
        [ -s "$share/$file" ] || fail "$1: there is no share/$file"
    done
    grep -q '^arrow-array ' "$share/doc/mixflow/THIRD-PARTY.txt" || fail "$1: licences are missing"
}

# beside BINARY: DuckDB is in it, or comes from where it was installed.
beside() {
    local loaded; loaded=$(env -i LD_TRACE_LOADED_OBJECTS=1 "$1" | grep duckdb || true)
    local place; place=$(cd "$(dirname "$1")/.." && pwd -P)
    if grep -v "=> $place/" <<< "$loaded" | grep -q .; then
        fail "$1 loads what is not its own:"$'\n'"$loaded"
    fi
    if grep -qaF "$HOME/.cache" "$1"; then fail "$1 knows the folder that it was built with"; fi
}

(cd "$out" && sha256sum -c --quiet SHA256SUMS)
for file in "$out"/*.tar.gz "$out"/*.deb "$out"/*.whl; do
    [ -e "$file" ] || continue
    grep -qF "$(basename "$file")" "$out/SHA256SUMS" || fail "$file has no checksum"
    [ "$(stat -c %s "$file")" -lt 60000000 ] || fail "$file has more than 60 MB"
done
passed "checksums, and less than 60 MB each"

mkdir "$work/a folder"; tar -xzf "$out"/*.tar.gz -C "$work/a folder"
unpacked=$(echo "$work/a folder"/mixflow-*)
works "$work/home-tar" "$unpacked/bin/mixflow"
complete "$unpacked"; beside "$unpacked/bin/mixflow"
ln -s "$unpacked/bin/mixflow" "$work/linked"
env -i "$work/linked" --version >/dev/null || fail "a link to the binary does not run"
passed "the archive, in a folder with a space in its name, and through a link"

if command -v dpkg-deb >/dev/null; then
    root=$work/root
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/log"
    touch "$root/var/lib/dpkg/status"
    # The libraries: what it was linked with here. What else it needs, apt brings.
    dpkg-deb -f "$out"/*.deb Depends | tr ',' '\n' | grep '^ *lib' | while read -r needed _; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$needed")" = installed ] ||
            fail "the .deb needs $needed, which is none of this system's"
    done
    dpkg=(dpkg --root="$root" --force-not-root --force-depends --force-bad-path --log=/dev/null)
    "${dpkg[@]}" -i "$out"/*.deb > "$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; exit 1; }
    works "$work/home-deb" "$root/usr/bin/mixflow"
    complete "$root/usr"; beside "$root/usr/bin/mixflow"
    # Over itself, which is an upgrade, and away.
    "${dpkg[@]}" -i "$out"/*.deb > "$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; exit 1; }
    "${dpkg[@]}" --purge mixflow > "$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; exit 1; }
    left=$(find "$root/usr" -name '*mixflow*' 2>/dev/null || true)
    [ -z "$left" ] || fail "the .deb leaves behind: $left"
    passed "the .deb, installed, upgraded and removed"
else
    skipped "the .deb: there is no dpkg here"
fi

if python3 -m venv "$work/venv" 2>"$work/venv.log"; then
    pip=("$work/venv/bin/python" -m pip -q --disable-pip-version-check)
    "${pip[@]}" install --no-index "$out"/*.whl
    works "$work/home-wheel" "$work/venv/bin/mixflow"
    complete "$work/venv"; beside "$work/venv/bin/mixflow"
    "${pip[@]}" uninstall -y mixflow
    left=$(find "$work/venv" -name '*mixflow*' -not -type d)
    [ -z "$left" ] || fail "the wheel leaves behind: $left"
    passed "the wheel, installed and removed"
else
    skipped "the wheel: Python has no venv here"
fi

# value NAME: what the container file says.
value() { sed -n "s/^$1 //p" "$here/Containerfile" | tail -1; }
entry=$(value ENTRYPOINT | tr -d '[]"') user=$(value USER)
[ "${user%%:*}" -gt 0 ] || fail "the container runs as root"
if docker info >/dev/null 2>&1 && docker build -q -t mixflow-dist-test "$out/container" -f "$out/container/Containerfile" >/dev/null; then
    docker run --rm --read-only --tmpfs /tmp mixflow-dist-test --version
    passed "the container"
elif [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ] && unshare -m true 2>/dev/null; then
    # What its file lays out, without an image to begin with: the libraries are ours.
    box=$work/box
    mkdir -p "$box/opt" "$box/usr/local/bin" "$box/tmp" "$box/data" "$box/proc" "$work/volume"
    tar -xzf "$out"/container/mixflow.tar.gz -C "$box/opt"
    mv "$box"/opt/mixflow-* "$box/opt/mixflow"
    ln -s /opt/mixflow/bin/mixflow "$box$entry"
    ldd "$box/opt/mixflow/bin/mixflow" | grep -oE '(^|[[:space:]])/[^ ]+' | grep -vF "$box" | sort -u | while read -r file; do
        mkdir -p "$box$(dirname "$file")"; cp -L "$file" "$box$file"
    done
    chown "$user" "$work/volume"; cp "$work/demo.toml" "$work/volume/"
    inside() {
        unshare -m sh -ec '
            box=$1 volume=$2 user=$3 entry=$4 variables=$5; shift 5
            mount --bind "$box" "$box"; mount -o remount,ro,bind "$box"
            mount -t tmpfs tmpfs "$box/tmp"; mount --bind "$volume" "$box/data"
            mount -t proc proc "$box/proc" 2>/dev/null || mount --bind /proc "$box/proc"
            cd "$box/data"
            exec env -i $variables "$(command -v chroot)" --userspec="$user" "$box" "$entry" "$@"
        ' sh "$box" "$work/volume" "$user" "$entry" "$(value ENV)" "$@"
    }
    inside run -q /data/demo.toml --set sink.path=/data/demo.db
    [ "$(inside query --db /data/demo.db --scalar 'SELECT count(*) FROM events')" = 1000 ] || fail "the container: no rows"
    [ -e "$work/volume/state" ] || fail "the container keeps nothing of its runs"
    owners=$(find "$work/volume" -name 'demo.db' -printf '%U:%G')
    [ "$owners" = "$user" ] || fail "the container writes as $owners"
    passed "what the container file lays out, as $user and on a read-only root"
    skipped "building the container: there is no docker daemon here"
else
    skipped "the container: there is neither docker nor root here"
fi
