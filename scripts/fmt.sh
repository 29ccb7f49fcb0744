#!/usr/bin/env bash
# Formats hand-written Go (gofumpt leaves generated files alone) and templ files in place.
set -euo pipefail
cd "$(dirname "$0")/.."
gofumpt=$(scripts/tool.sh gofumpt)
git ls-files -co --exclude-standard -- '*.go' | while read -r file; do [ ! -e "$file" ] || echo "$file"; done | xargs "$gofumpt" -l -w
if [ -d frontend ]; then
  "$(scripts/tool.sh templ)" fmt frontend
fi
