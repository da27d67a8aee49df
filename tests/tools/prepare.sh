#!/bin/sh
# Makes what the demo and the tests need: `prepare.sh environment` the virtual environment in .venv,
# `prepare.sh packages` the Debian packages (as root), `prepare.sh packages_full` those of `make test-full`.
# Quick when there is nothing to do.
set -eu

cd "$(dirname "$0")/../.."

SERVERS="postfix postfix-sqlite dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sieve
dovecot-managesieved dovecot-sqlite postfix-pgsql dovecot-pgsql postgresql"
BUILD="gcc libc6-dev"
# What counts and packed logs are compared with; qshape, of Postfix, is written in Perl.
LOGS="perl pflogsumm bzip2 zstd xz-utils"
# What shows reports as people see them.
BROWSER="chromium chromium-driver"
# What health is run by: systemd-analyze verifies the units; no service of either is started.
TIMERS="systemd cron"
# An authority for the zones that health is asked about, and a resolver that validates.
NAMES="nsd unbound"

say() { printf '%s\n' "prepare: $*" >&2; }

is_debian() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

missing() {
    for package in "$@"; do
        installed "$package" || printf '%s ' "$package"
    done
}

POLICY=/usr/sbin/policy-rc.d

# Nobody wants a mail server to start because its package was unpacked for a test. A policy of the
# machine's own is kept beside ours meanwhile, and put back whatever happens.
hold_services() {
    trap release_services EXIT
    trap 'exit 130' HUP INT TERM
    if [ -e "$POLICY" ] && [ ! -e "$POLICY.kept" ]; then
        mv "$POLICY" "$POLICY.kept"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

release_services() {
    if [ -e "$POLICY.kept" ]; then
        mv "$POLICY.kept" "$POLICY"
    else
        rm -f "$POLICY"
    fi
    trap - EXIT HUP INT TERM
}

install_quietly() {
    hold_services
    status=0
    say "installing $*"
    {
        DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"
    } >.venv-packages.log 2>&1 || status=$?
    release_services
    if [ "$status" != 0 ]; then
        tail -n 20 .venv-packages.log >&2
        say "these packages could not be installed: $*"
        exit 1
    fi
    rm -f .venv-packages.log
}

packages() {
    if ! is_debian; then
        say "this is no Debian: the servers' packages are left out"
        return
    fi
    # shellcheck disable=SC2086
    wanted=$(missing $SERVERS $BUILD $LOGS $TIMERS $BROWSER $NAMES)
    [ -n "$wanted" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "not root: these packages are left out, and what needs them: $wanted"
        return
    fi
    other=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' |
        awk '$1 == "installed" && $2 != "postfix" && /mail-transport-agent/ { print $2 }')
    if [ -n "$other" ]; then
        say "another mail server is installed: $other"
        say "Debian would remove it to install Postfix. Use another machine, or remove it yourself first."
        exit 1
    fi
    # shellcheck disable=SC2086
    install_quietly $wanted
}

# What `make test-full` needs besides: clean roots are made with the first, journals with the second, the
# others are a webmail, and what directories of other systems are made with.
FULL="debootstrap systemd-journal-remote
roundcube-core roundcube-sqlite3 php-cli php-sqlite3 php-mbstring php-intl php-xml
mariadb-server php-mysql php-pgsql"

packages_full() {
    # shellcheck disable=SC2086
    if is_debian && [ "$(id -u)" = 0 ] && wanted=$(missing $FULL) && [ -n "$wanted" ]; then
        install_quietly $wanted
    fi
    unpack_postfixadmin
}

# Not installed: that would set up a web server and a database of the machine's.
unpack_postfixadmin() {
    if is_debian && [ ! -d .cache/postfixadmin ]; then
        say "unpacking postfixadmin into .cache"
        rm -rf .cache/new && mkdir -p .cache/new
        if ! (cd .cache/new && apt-get -qq download postfixadmin 2>/dev/null && dpkg-deb -x ./*.deb .); then
            say "postfixadmin could not be downloaded"
            exit 1
        fi
        mv .cache/new .cache/postfixadmin
    fi
}

choose_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
}

environment() {
    python=$(choose_python)
    if [ -z "$python" ] && is_debian && [ "$(id -u)" = 0 ]; then
        install_quietly python3 python3-venv
        python=$(choose_python)
    fi
    if [ -z "$python" ]; then
        say "Python 3.11, 3.12 or 3.13 is needed"
        exit 1
    fi
    stamp=$({ "$python" -V; pwd; cat requirements-dev.txt pyproject.toml; } | sha256sum)
    if [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ]; then
        compile
        return
    fi
    say "making .venv with $("$python" -V)"
    rm -rf .venv
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if is_debian && [ "$(id -u)" = 0 ]; then
            install_quietly python3-venv
        else
            say "Python lacks venv: apt-get install python3-venv"
            exit 1
        fi
    fi
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    compile
    printf '%s\n' "$stamp" >.venv/stamp
}

# What installing does with any package. Else, where PYTHONDONTWRITEBYTECODE is set, every command that is
# started compiles its modules anew.
compile() { .venv/bin/python -m compileall -q postmaster tests; }

for step in "$@"; do
    "$step"
done
