#!/usr/bin/env bash
# Makes sure that what the tests need is there: PostgreSQL and a C compiler (for the race detector), Chromium, systemd-analyze for the units, the npm and
# PyPI packages of the protocol clients. As root on a Debian-like system it installs what is missing; otherwise it names
# it, with the line that installs it, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
have_postgres() { command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || [ -n "${PG_BIN:-}" ]; }
have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }
have_postgres || missing+=(postgresql-15)
have_chromium || missing+=(chromium)
command -v curl >/dev/null || missing+=(curl)
command -v openssl >/dev/null || missing+=(openssl)
[ "$(uname)" != Linux ] || command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v cc >/dev/null || command -v gcc >/dev/null || missing+=(gcc libc6-dev)
if [ -e test/protocols/python/requirements.txt ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup-test: installing ${missing[*]}"
    apt-get update -qq
    apt-cache show postgresql-15 >/dev/null 2>&1 || missing=("${missing[@]/postgresql-15/postgresql}")
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
  elif command -v apt-get >/dev/null; then
    echo "the tests need ${missing[*]}; install with: sudo apt-get install ${missing[*]}" >&2
    exit 1
  else
    echo "the tests need ${missing[*]} (names of Debian packages); on macOS: brew install postgresql@15 && brew install --cask chromium" >&2
    exit 1
  fi
fi

# npm_ci DIR installs a folder's locked npm packages, when the lock file is newer than what is there.
npm_ci() {
  [ -e "$1/package-lock.json" ] || return 0
  if [ ! -e "$1/node_modules/.package-lock.json" ] || [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ]; then
    echo "setup-test: npm ci in $1"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    touch "$1/node_modules/.package-lock.json"
  fi
}
npm_ci tools
npm_ci test/protocols/node
npm_ci test/browser

requirements=test/protocols/python/requirements.txt
if [ -e $requirements ] && ! cmp -s $requirements .venv/requirements.txt; then
  echo "setup-test: python packages of $requirements into .venv"
  [ -x .venv/bin/pip ] || python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --requirement $requirements
  cp $requirements .venv/requirements.txt # last, so that an install cut short is done again
fi
