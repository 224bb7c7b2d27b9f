#!/bin/bash
# The version and the commit that the working tree is built as. A version never means two states: a
# tree with changes has the time in it.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
version=${commit:0:12}
[ -z "$(git status --porcelain)" ] || version+=-$(date -u +%Y%m%dT%H%M%S)
echo "$version $commit"
