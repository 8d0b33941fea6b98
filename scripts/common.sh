# shellcheck shell=bash
#
# What scripts/test and scripts/bench have in common: processes that end with
# them, packages of Debian, and a temporary folder. They source this file after
# they have set
#
#   root              the repository
#   name              of the script, as in scripts/test
#   needs             what needs the packages, as in "the tests need"
#   missing_packages  a function that prints the packages that are missing
#
# and have `set -euo pipefail` in force.

say() { printf '%s: %s\n' "$name" "$*" >&2; }
usage() { awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$root/$name"; }

# --------------------------------------------------------------- processes

child=        # the process group running now
child_kind=   # work: may be ended at once; server: must be let finish
work_dir=     # this run's temporary folder, with our PostgreSQL in pg/

# Runs a command in a process group of its own. Without that bash would sit out
# a signal until the command ends, and a test process could outlive the runner.
run_child() {
    local rc=0
    child_kind=$1
    shift
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    wait "$child" || rc=$?
    child=
    return "$rc"
}

on_signal() {
    # A second Ctrl-C must not leave the server behind.
    trap '' INT TERM HUP PIPE
    say "interrupted" || true
    if [ -n "$child" ] && [ "$child_kind" = server ]; then
        wait "$child" || true
    elif [ -n "$child" ]; then
        # A test runner passes the signal on to its tests and waits 10 seconds.
        kill -TERM -- "-$child" 2>/dev/null || true
        for ((i = 0; i < 150; i++)); do
            kill -0 -- "-$child" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$child" 2>/dev/null || true
    fi
    exit "$1"
}

clean_up() {
    local rc=$?
    trap '' INT TERM HUP PIPE
    if [ -n "$work_dir" ]; then
        if [ -d "$work_dir/pg" ]; then
            "$BASH" "$root/scripts/postgres" stop "$work_dir/pg" || true
        fi
        rm -rf -- "$work_dir"
    fi
    exit "$rc"
}

trap clean_up EXIT
trap 'on_signal 130' INT
trap 'on_signal 143' TERM
trap 'on_signal 129' HUP
trap 'on_signal 141' PIPE

# ----------------------------------------------------------------- packages

# Runs as root, perhaps in a shell of its own: it must not use this script's
# variables.
install_packages() {
    # One installer at a time: apt waits for the lock of dpkg, but not for that
    # of its lists.
    mkdir -p /run/lock
    exec 9>/run/lock/countersign-test-packages
    flock 9
    # Without this Debian starts a server of its own on the usual port.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1
    # An unreachable source among several need not matter; the install tells.
    apt-get update || true
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" 9>&-
}

ensure_packages() {
    local packages=() ready=no
    mapfile -t packages < <(missing_packages)
    if [ "${#packages[@]}" = 0 ]; then return 0; fi

    # Debian's modules are of no use to another Python.
    if [ "${TEST_PYTHON:-/usr/bin/python3}" != /usr/bin/python3 ] && [[ "${packages[*]}" == *python3-* ]]; then
        say "TEST_PYTHON=$TEST_PYTHON lacks modules, see ${packages[*]}"
        exit 2
    fi

    printf '\n=== packages: %s\n' "${packages[*]}"
    if ! command -v apt-get >/dev/null; then
        : # not Debian: the message below is all that can be done
    elif [ "$(id -u)" = 0 ]; then
        if (install_packages "${packages[@]}") </dev/null; then ready=yes; fi
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        if sudo -n bash -c "set -euo pipefail; $(declare -f install_packages); install_packages \"\$@\"" \
            install "${packages[@]}" </dev/null; then ready=yes; fi
    fi

    mapfile -t packages < <(missing_packages)
    if [ "${#packages[@]}" = 0 ]; then return 0; fi
    if [ "$ready" = yes ]; then
        say "installed, yet it does not work: ${packages[*]}"
    else
        say "$needs packages that this user may not install; run as root:"
        printf '\n    apt-get update && apt-get install -y --no-install-recommends %s\n\n' \
            "${packages[*]}" >&2
    fi
    exit 2
}

# ----------------------------------------------------------------- a folder

# The server's user must be able to enter the folder, so a TMPDIR inside a
# private home will not do for root.
make_work_dir() {
    local base
    for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        if [ "$(id -u)" = 0 ] && ! (cd / && runuser -u postgres -- test -x "$base"); then
            continue
        fi
        if work_dir=$(mktemp -d "$base/countersign-${name##*/}.XXXXXXXX" 2>/dev/null); then
            chmod 711 "$work_dir"
            return 0
        fi
    done
    say "found no temporary folder that PostgreSQL may use"
    exit 1
}

