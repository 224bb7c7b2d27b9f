#!/bin/bash
# Prints as JSON the locations that the changes since a commit can affect: those in whose folders
# files have changed, or all, where files that match the pattern have changed or the commit is unknown.
#   .github/changed-locations.sh COMMIT PATTERN
set -euo pipefail
all=$(sed -nE 's,^path = "([^/"]+)"$,\1,p' dg.toml)
if files=$(git diff --name-only "$1...HEAD" 2> /dev/null) && ! grep -qE "$2" <<< "$files"; then
  all=$(grep -xF -f <(cut -d / -f 1 <<< "$files") <<< "$all" || true)
fi
echo "[$(sed '/^$/d; s/.*/"&"/' <<< "$all" | paste -sd ,)]"
