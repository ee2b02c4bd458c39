#!/bin/sh
# Makes sure that the system packages exist: a C++ compiler and make for what Verilator writes, venv for Python. Where
# apt-get is allowed it installs ccache too, which saves time and is not needed.
set -eu
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Python 3.11 or later is needed, ${PYTHON:-python3} is not: make setup PYTHON=python3.12, or where one is" >&2
    exit 2
}
missing=""
command -v g++ >/dev/null 2>&1 || missing="$missing g++"
command -v make >/dev/null 2>&1 || missing="$missing make"
"${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
apt_get=""
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then apt_get=yes; fi
saves_time=""
[ -z "$apt_get" ] || command -v ccache >/dev/null 2>&1 || saves_time=ccache
if [ -n "$apt_get" ] && [ -n "$missing$saves_time" ]; then
    if apt-get update -qq; then
        if [ -n "$missing" ] && apt-get install -y -qq $missing; then missing=""; fi
        [ -z "$saves_time" ] || apt-get install -y -qq "$saves_time" || echo "there is no ccache; it is not needed" >&2
    fi
fi
[ -z "$missing" ] && exit 0
echo "missing system packages; install them with: sudo apt-get install$missing" >&2
exit 2
