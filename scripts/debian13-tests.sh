#!/usr/bin/env bash
# Runs the suite on the second supported stack: Debian 13, Python 3.13, constraints/py313.txt.
#
#   scripts/debian13-tests.sh [ROOT] [MAKE_ARGUMENT...]
#
# ROOT (default .debian13) becomes a Debian 13 root on the first run and is used again by the
# next ones; `rm -rf ROOT` is the way to be rid of it. What is tested is the commit that is
# checked out. The make arguments default to `test`:
#
#   scripts/debian13-tests.sh .debian13 lint test
#   scripts/debian13-tests.sh .debian13 test ARGS="-k frames -x"
#
# Package sources are this machine's own: the mirror that apt uses here (or $DEBIAN_MIRROR),
# its Acquire settings, pip's configuration, local package folders and certificates are looked
# up at run time and carried into the root. All mounts live in a mount namespace of their own
# and go with it, however this script ends.
set -euo pipefail

readonly marker=.trueup-debian13
# One line per stage of use: interpreter and set-up; compiler for pyfarmhash; the report test.
readonly packages=(
    ca-certificates git make procps python3.13 python3.13-venv
    g++ python3.13-dev
    chromium fonts-dejavu-core
)

die() {
    printf '%s\n' "scripts/debian13-tests.sh: $1" >&2
    exit 2
}

check_host() {
    [ "$(id -u)" -eq 0 ] || die "making a root needs root; run it with sudo"
    command -v debootstrap >/dev/null ||
        die "debootstrap is missing; bring it with: apt-get install -y debootstrap (Fedora: dnf install -y debootstrap)"
    command -v unshare >/dev/null ||
        die "unshare is missing; bring it with: apt-get install -y util-linux (Fedora: dnf install -y util-linux)"
    unshare --mount --pid --fork true 2>/dev/null ||
        die "this machine refuses mount namespaces (unshare --mount); a container needs --privileged for that"
}

# The mirror that this machine's apt takes Debian from; nothing where it does not run Debian,
# and debootstrap's own default then holds.
debian_mirror() {
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$DEBIAN_MIRROR"
    elif command -v apt-get >/dev/null; then
        # shellcheck disable=SC2016  # apt expands it
        apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
            sort -u | sed -n 1p
    fi
}

make_root() {
    if [ "$(cat "$root/$marker" 2>/dev/null)" = "${packages[*]}" ]; then
        return
    fi
    if [ -e "$root" ] && [ ! -e "$root/$marker" ] && [ -n "$(ls -A "$root")" ]; then
        die "$root exists and is no root of ours; name an empty or new folder"
    fi
    rm -rf "$root"
    mkdir -p "$root"
    : >"$root/$marker" # ours, not ready yet

    local mirror
    mirror=$(debian_mirror)
    # In a mount namespace, because debootstrap leaves /proc mounted when interrupted.
    unshare --mount --pid --fork --kill-child debootstrap --force-check-gpg --variant=minbase \
        trixie "$root" ${mirror:+"$mirror"}
    # Words of the host's apt: proxies, time-outs, checks. Nothing of it enters the repository.
    if command -v apt-config >/dev/null; then
        apt-config dump | grep -E '^Acquire::' >"$root/etc/apt/apt.conf.d/90host" || true
    fi
    enter bash -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q update
        apt-get -q install -y --no-install-recommends "$@"
        apt-get clean
    ' bash "${packages[@]}"
    printf '%s\n' "${packages[*]}" >"$root/$marker"
}

# Every folder on this machine that pip has been told to take packages from. Pages of a local
# index (.../simple) point to files beside them, so its parent folder goes along.
pip_folders() {
    {
        python3 -m pip config list 2>/dev/null || true
        env | grep -E '^PIP_' || true
    } | grep -oE "(file://)?/[^' ,]+" | sed 's|^file://||; s|/simple/*$||' | sort -u |
        while read -r folder; do
            if [ -d "$folder" ]; then printf '%s\n' "$folder"; fi
        done
}

carry_settings() {
    local file
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" \
        "${PIP_CONFIG_FILE:-}" /etc/ssl/certs/ca-certificates.crt "${SSL_CERT_FILE:-}" \
        "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}"; do
        [ -f "$file" ] || continue
        mkdir -p "$root$(dirname "$file")"
        cp --dereference "$file" "$root$file"
    done
    cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
}

# Runs a command inside the root, in namespaces that take mounts and processes along when
# the command ends.
enter() {
    carry_settings
    pip_folders >"$root/.mounts"
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        while read -r folder; do
            mkdir -p "$root$folder"
            mount --bind "$folder" "$root$folder"
            mount -o remount,ro,bind "$root$folder"
        done <"$root/.mounts"
        # HOME stays: pip reads its configuration there. Python of the host must not shine through.
        exec env -u VIRTUAL_ENV -u PYTHONHOME -u PYTHONPATH -u PYENV_VERSION \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LANG=C.UTF-8 LC_ALL=C.UTF-8 chroot "$root" "$@"
    ' bash "$root" "$@"
}

copy_commit() {
    local source=$1
    if [ ! -d "$root/src/.git" ]; then
        rm -rf "$root/src"
        git init -q "$root/src"
    fi
    git -C "$root/src" fetch -q "$source" HEAD
    git -C "$root/src" checkout -q --force --detach FETCH_HEAD
    git -C "$root/src" clean -qfd # ignored files stay: the virtual environment is one
    printf 'Debian 13: testing commit %s\n' "$(git -C "$root/src" log -1 --format='%h %s')"
    if [ -n "$(git -C "$source" status --porcelain --untracked-files=no)" ]; then
        printf 'Debian 13: changes that are not committed are not part of it\n'
    fi
}

main() {
    local source
    source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
    root=$(realpath -m "${1:-$source/.debian13}")
    if [ $# -gt 0 ]; then shift; fi
    if [ $# -eq 0 ]; then set -- test; fi

    check_host
    make_root
    copy_commit "$source"
    enter make -C /src PYTHON=python3.13 "$@"
}

main "$@"
