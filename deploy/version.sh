#!/bin/bash
# Prints the version and the commit of the working tree. A tree with changes has the time in its
# version, so a version never stands for two states.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD) || {
  echo "deploy/version.sh: the version of an image is git's commit: git must be installed, and this folder a clone" >&2
  exit 1
}
version=${commit:0:12}
[ -z "$(git status --porcelain)" ] || version+=-$(date -u +%Y%m%dT%H%M%S)
echo "$version $commit"
