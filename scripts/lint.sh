#!/usr/bin/env bash
# Lints the .proto files and every Go module of the workspace; each module is linted from its own folder with the one config.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ -x tools/node_modules/.bin/buf ] || (cd tools && npm ci --no-audit --no-fund --loglevel=error)
tools/node_modules/.bin/buf lint proto
golangci=$(scripts/tool.sh golangci-lint)
failed=0
for dir in $(go list -m -f '{{.Dir}}'); do
  packages=$(cd "$dir" && go list ./...)
  [ -n "$packages" ] || continue # an empty module is an error to the linter
  echo "lint ${dir#"$root"}/"
  (cd "$dir" && "$golangci" run --allow-serial-runners --config "$root/.golangci.yml" ./...) || failed=1
done
exit $failed
