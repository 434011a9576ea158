#!/usr/bin/env bash
# Gets what the tests of Spark need: Java 17 from Debian where there is none, and a
# Python environment from PyPI, kept for the next time.
#
# usage: eval "$(setup.sh)"      prints what the shell needs to know: PATH and JAVA_HOME
# exit:  0 it is there
#        3 it cannot be had here; stderr says why
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${MIXFLOW_SPARK_CACHE:-$HOME/.cache/mixflow-spark}
venv=$cache/venv
python=${PYTHON:-python3}

say() { echo "spark: $*" >&2; }
without() { say "skipped: $*"; exit 3; }

# from_debian PACKAGE…
from_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "getting $* from Debian"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2
}

# Prints the home of a Java that Spark 4 starts with: the usual one, or Debian's.
java_home() {
    local usual home major
    usual=$(readlink -f "$(command -v java)" 2>/dev/null || true)
    for home in "${JAVA_HOME:-/none}" "${usual%/bin/java}" /usr/lib/jvm/java-*-openjdk-*; do
        [ -x "$home/bin/java" ] || continue
        major=$("$home/bin/java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge 17 ]; then echo "$home"; return; fi
    done
}

java=$(java_home)
if [ -z "$java" ]; then
    from_debian openjdk-17-jre-headless || without "there is no Java 17, and apt-get cannot get openjdk-17-jre-headless"
    java=$(java_home)
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
    from_debian python3 || without "there is no Python 3.9 or later"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    from_debian python3-venv || without "this Python has no venv"

# Another Python or other requirements are another environment.
stamp=$({ cat "$here/tests/requirements.txt"; "$python" -VV; } | sha256sum | cut -c1-16)
if [ "$(cat "$venv/mixflow-stamp" 2>/dev/null)" != "$stamp" ]; then
    say "getting Spark and what tests it from PyPI, into $venv"
    mkdir -p "$cache"
    # One that is half there is brought to its end.
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv" >&2
    "$venv/bin/python" -m pip -q --disable-pip-version-check install -r "$here/tests/requirements.txt" >&2 ||
        without "PyPI does not have it all, or cannot be reached"
    echo "$stamp" > "$venv/mixflow-stamp"
fi
printf 'export JAVA_HOME=%q PATH=%q:$PATH\n' "$java" "$venv/bin"
