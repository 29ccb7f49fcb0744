#!/usr/bin/env bash
# Regenerates what is generated, in place: scripts/gen.sh proto|sql|templ|css ...
# A generated file whose source is gone is removed. Everything here is committed, so that a clone builds with Go alone.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# need_node installs the npm tools of tools/package.json, when the lock file is newer than what is there.
need_node() {
  if [ ! -e tools/node_modules/.package-lock.json ] || [ tools/package-lock.json -nt tools/node_modules/.package-lock.json ]; then
    (cd tools && npm ci --no-audit --no-fund --loglevel=error)
    touch tools/node_modules/.package-lock.json
  fi
}

gen_proto() {
  need_node
  mkdir -p bin
  local plugin file source
  for plugin in protoc-gen-go protoc-gen-connect-go protoc-gen-openapiv2; do
    ln -sf "$(scripts/tool.sh $plugin)" bin/$plugin
  done
  tools/node_modules/.bin/buf generate proto
  tools/node_modules/.bin/buf generate proto --template buf.openapi.yaml --path proto/tenon/identity --path proto/tenon/registry --path proto/tenon/runs --path proto/tenon/workers
  find proto -name '*.pb.go' -o -name '*.connect.go' | while read -r file; do
    source=$(sed -nE 's#^// [Ss]ource: (tenon/.*\.proto)$#\1#p' "$file" | head -n 1)
    [ -e "proto/$source" ] || rm -v "$file"
  done
}

gen_sql() {
  local sqlc file owner
  sqlc=$(scripts/tool.sh sqlc)
  (cd db && "$sqlc" generate)
  for file in db/*q/*.sql.go; do
    [ -e "$file" ] || continue
    owner=$(basename "$(dirname "$file")")
    [ -e "db/queries/${owner%q}/$(basename "$file" .go)" ] || rm -v "$file"
  done
}

gen_templ() {
  [ -d frontend ] || return 0
  local templ file
  templ=$(scripts/tool.sh templ)
  "$templ" generate -path frontend -log-level error
  find frontend -name '*_templ.go' | while read -r file; do
    [ -e "${file%_templ.go}.templ" ] || rm -v "$file"
  done
}

gen_css() {
  [ -e frontend/styles/app.css ] || return 0
  need_node
  mkdir -p frontend/assets
  # Tailwind looks for `@import "tailwindcss"` beside the style sheet; NODE_PATH tells it where the pinned one is.
  NODE_PATH=$root/tools/node_modules tools/node_modules/.bin/tailwindcss \
    --input frontend/styles/app.css --output frontend/assets/app.css --minify
  # The dashboard serves htmx itself: no page asks another host for anything. Their source maps are not served.
  local file
  for file in htmx.min.js ext/hx-sse.min.js; do
    sed '/^\/\/# sourceMappingURL=/d' "tools/node_modules/htmx.org/dist/$file" >"frontend/assets/$(basename "$file")"
  done
}

[ $# -gt 0 ] || set -- proto sql templ css
for kind; do
  case $kind in
  proto | sql | templ | css) "gen_$kind" ;;
  *) echo "gen.sh: '$kind' is none of proto, sql, templ, css" >&2; exit 2 ;;
  esac
done
