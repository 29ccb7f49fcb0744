#!/usr/bin/env bash
# Makes what compose.yaml needs and must not be in a repository: passwords (.env), the master key and the keys for NATS (secrets/).
# What is there already is kept. Takes a folder to write into, by default its own.
set -euo pipefail
umask 077
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)"
random() { openssl rand -hex 24; }

mkdir -p "$folder/secrets"
if [ ! -e "$folder/.env" ]; then
  {
    echo "TENON_UID=$(id -u)"
    echo "TENON_GID=$(id -g)"
    echo "POSTGRES_PASSWORD=$(random)"
    echo "TENON_OWNER_PASSWORD=$(random)"
    echo "TENON_SERVER_PASSWORD=$(random)"
  } >"$folder/.env.new"
  mv "$folder/.env.new" "$folder/.env"
fi
if [ ! -e "$folder/secrets/master.key" ]; then
  openssl rand -base64 32 >"$folder/secrets/master.key.new"
  mv "$folder/secrets/master.key.new" "$folder/secrets/master.key"
fi
cd "$here/../.."
go run ./cmd/tenond nats-config --out "$folder/secrets/nats"
