#!/usr/bin/env bash
# Regenerates everything and fails when a generated file changes, appears or disappears, naming it.
set -euo pipefail
cd "$(dirname "$0")/.."

# fingerprint lists every generated file with a hash of its contents, so that a file already modified is compared too.
fingerprint() {
  git ls-files -co --exclude-standard -- 'proto/*.go' 'db/*q/*.go' '*_templ.go' 'frontend/assets/*' internal/apidocs/api.swagger.json | LC_ALL=C sort -u |
    while read -r file; do
      [ ! -e "$file" ] || echo "$(git hash-object "$file") $file"
    done
}

before=$(fingerprint)
scripts/gen.sh
after=$(fingerprint)
if [ "$before" != "$after" ]; then
  echo "generated files are not what their sources give; run 'make gen' and commit these:" >&2
  diff <(echo "$before") <(echo "$after") | awk '/^[<>]/ { print "  " $3 }' | sort -u >&2
  exit 1
fi
