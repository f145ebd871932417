#!/usr/bin/env bash
# Makes the virtual environment that make's targets run in, or returns at once where it is ready.
#
#   scripts/setup.sh PYTHON VENV        (make calls it: PYTHON ?= python3.11, VENV ?= .venv)
#
# Two steps, each closed by a stamp inside VENV, so that what was interrupted is done again:
# the pinned set with its hashes (anew when constraints/ or the interpreter changed), then
# Trueup itself, editable (again when pyproject.toml changed). What the machine lacks is
# named, with the command that brings it, before anything is downloaded.
set -euo pipefail

readonly python=$1 venv=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Two makes at once: the second waits here, then finds the work done.
exec 9<scripts/setup.sh
if command -v flock >/dev/null; then flock 9; fi

missing=() apt=() dnf=()

lacks() { # WHAT APT_PACKAGE DNF_PACKAGE
    missing+=("$1")
    apt+=("$2")
    dnf+=("$3")
}

# Prints the interpreter's version, then each of its parts that is not there.
probe_python() {
    "$python" - <<'PROBE'
import importlib.util, os, sys, sysconfig
print("%d.%d" % sys.version_info[:2])
if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
    print("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("headers")
PROBE
}

check_python() {
    local found
    if ! found=$(probe_python 2>/dev/null); then
        version=$(basename "$python")
        version=${version#python}
        lacks "Python ($python)" "python$version python$version-venv python$version-dev" \
            "python$version python$version-devel"
        return
    fi
    version=$(sed -n 1p <<<"$found")
    if grep -qx venv <<<"$found"; then
        lacks "the venv module of $python" "python$version-venv" "python$version"
    fi
    if grep -qx headers <<<"$found"; then
        lacks "the C headers of $python" "python$version-dev" "python$version-devel"
    fi
}

check_tools() {
    local compiler=${CXX:-c++}
    # pyfarmhash, which TensorFlow Data Validation needs, comes as C++ source.
    if ! $compiler -x c++ -fsyntax-only - <<<'int main() {}' >/dev/null 2>&1; then
        lacks "a C++ compiler ($compiler)" "g++" "gcc-c++"
    fi
    if ! command -v flock >/dev/null; then
        lacks "flock" "util-linux" "util-linux"
    fi
}

report_missing() {
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    local sudo="" what
    if [ "$(id -u)" -ne 0 ]; then sudo="sudo "; fi
    {
        printf 'This machine lacks:\n'
        for what in "${missing[@]}"; do printf '  - %s\n' "$what"; done
        if command -v dnf >/dev/null; then
            printf 'Bring it with:\n  %sdnf install -y %s\n' "$sudo" "${dnf[*]}"
        else
            printf 'Bring it with:\n  %sapt-get update && %sapt-get install -y %s\n' \
                "$sudo" "$sudo" "${apt[*]}"
        fi
        printf 'Another Python 3.11 or 3.13 serves as well: make PYTHON=/path/to/python3.13 ...\n'
    } >&2
    exit 1
}

refuse() {
    printf '%s\n' "$1" >&2
    exit 1
}

choose_constraints() {
    case $version in
    3.11) constraints=constraints/py311.txt ;;
    3.13) constraints=constraints/py313.txt ;;
    *) refuse "The development environment is pinned for Python 3.11 and 3.13, and $python is $version; run: make PYTHON=python3.11 ..." ;;
    esac
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        refuse "The development environment is pinned for Linux on x86_64, and this is $(uname -sm)."
    fi
    # TensorFlow Data Validation's wheels for Python 3.12 and later are built against glibc 2.39.
    local glibc
    glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    if [ "$version" = 3.13 ] && [ "$(printf '%s\n' 2.39 "$glibc" | sort -V | sed -n 1p)" != 2.39 ]; then
        refuse "The Python 3.13 stack needs glibc 2.39 (Debian 13, Ubuntu 24.04), and this machine has $glibc; use PYTHON=python3.11, or scripts/debian13-tests.sh."
    fi
}

digest() { # of the named files and of standard input
    cat "$@" - | sha256sum | cut -d' ' -f1
}

install_pinned() {
    local wanted
    wanted=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)' | digest "$constraints")
    if [ "$(cat "$venv/.pinned" 2>/dev/null)" = "$wanted" ]; then return; fi
    printf 'Installing the %d packages of %s into %s (some minutes, once)\n' \
        "$(grep -c '^[A-Za-z0-9].*==' "$constraints")" "$constraints" "$venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" --disable-pip-version-check install --quiet --require-hashes --no-deps \
        -r "$constraints"
    printf '%s\n' "$wanted" >"$venv/.pinned"
}

install_trueup() {
    local wanted
    wanted=$(digest pyproject.toml </dev/null)
    if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then return; fi
    # The pinned setuptools builds it: nothing is downloaded here.
    "$venv/bin/pip" --disable-pip-version-check install --quiet --no-deps --no-build-isolation \
        --editable .
    printf '%s\n' "$wanted" >"$venv/.installed"
}

check_python
check_tools
report_missing
choose_constraints
install_pinned
install_trueup
