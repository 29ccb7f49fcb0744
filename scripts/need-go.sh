#!/bin/sh
# Exits with one line that says what to install, when Go is absent or older than go.mod demands.
cd "$(dirname "$0")/.." || exit 1
want=$(awk '$1 == "go" { print $2; exit }' go.mod)
# Asked outside the module, with its own toolchain: otherwise an old Go fetches a newer one, or fails with a riddle.
have=$(cd / && GOTOOLCHAIN=local GOWORK=off go env GOVERSION 2>/dev/null | sed 's/^go//; s/ .*//')
if [ -z "$have" ]; then
  echo "Go $want or newer is needed and no go is on PATH; install it from https://go.dev/dl/" >&2
  exit 1
fi
oldest=$(printf '%s\n%s\n' "$want" "$have" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)
if [ "$oldest" != "$want" ]; then
  echo "Go $want or newer is needed and this is Go $have; install it from https://go.dev/dl/" >&2
  exit 1
fi
