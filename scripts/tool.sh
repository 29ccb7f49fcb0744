#!/usr/bin/env bash
# Prints the path of a build tool, building it first if this version isn't in the cache yet:
#   scripts/tool.sh sqlc|templ|golangci-lint|gofumpt|protoc-gen-go|protoc-gen-connect-go|protoc-gen-openapiv2
# Versions are pinned in tools/go.mod, which stays outside the workspace so that no tool's dependency reaches the product.
# The cache is ${XDG_CACHE_HOME:-~/.cache}/tenon-tools/<name>-<version>-<go version>/; delete it at any time.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
name=${1:?usage: scripts/tool.sh NAME}

case $name in
sqlc) module=github.com/sqlc-dev/sqlc package=$module/cmd/sqlc ;;
templ) module=github.com/a-h/templ package=$module/cmd/templ ;;
golangci-lint) module=github.com/golangci/golangci-lint/v2 package=$module/cmd/golangci-lint ;;
gofumpt) module=mvdan.cc/gofumpt package=$module ;;
protoc-gen-go) module=google.golang.org/protobuf package=$module/cmd/protoc-gen-go ;;
protoc-gen-connect-go) module=connectrpc.com/connect package=$module/cmd/protoc-gen-connect-go ;;
protoc-gen-openapiv2) module=github.com/grpc-ecosystem/grpc-gateway/v2 package=$module/protoc-gen-openapiv2 ;;
*) echo "tool.sh: no tool is called '$name'; see the list in scripts/tool.sh" >&2; exit 2 ;;
esac

version=$(awk -v m="$module" '$1 == m && $2 ~ /^v/ { print $2; exit }' "$root/tools/go.mod")
[ -n "$version" ] || { echo "tool.sh: $module is not pinned in tools/go.mod" >&2; exit 1; }
# A linter built by an older Go refuses newer code, so the toolchain is part of the key.
key=$name-$version-$(go env GOVERSION)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/tenon-tools/$key

if [ ! -x "$dir/$name" ]; then
  echo "tool.sh: building $name $version (once)" >&2
  mkdir -p "$dir"
  tmp=$(mktemp -d "$dir/build.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  # Without cgo: no C compiler is needed, and sqlc's Postgres parser doesn't take minutes to compile.
  (cd "$root/tools" && GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$tmp/$name" "$package") >&2
  mv "$tmp/$name" "$dir/$name" # in one step, so that two builders at once don't disturb each other
fi
echo "$dir/$name"
