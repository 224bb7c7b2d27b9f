#!/bin/bash
# Copies the database and the volume with the data root: deploy/backup.sh FOLDER
# Stops all services meanwhile, so that the two agree. Runs must have ended.
set -euo pipefail
umask 077 # it holds the database and all data
folder=$(realpath -m "${1:?the folder to write to, which is made}")
cd "$(dirname "$0")/.."
[ ! -e "$folder" ] || { echo "$folder exists: choose a new folder" >&2; exit 1; }

project=$(docker compose config | sed -n 's/^name: //p')
root=$(docker compose config | sed -n 's/^ *TAXI_DATA_ROOT: //p' | head -1)
runs=$(docker ps --quiet --filter "label=taxi.run=$project" | wc -l)
[ "$runs" = 0 ] || { echo "$runs runs are in progress: wait for them or cancel them first" >&2; exit 1; }

partial=$folder.partial
mkdir -p "$(dirname "$partial")"
mkdir "$partial" # one that another user has made would be theirs to read
trap 'rm -rf "$partial"; docker compose start >/dev/null' EXIT
docker compose stop
copy() {
  docker compose run --rm --no-deps --no-TTY --entrypoint tar "$1" -C "$2" -cf - . | gzip > "$partial/$3"
}
echo "$root" > "$partial/data-root"
copy postgres /var/lib/postgresql/data database.tar.gz
case $root in
  s3://*) echo "WARNING: the data root $root is NOT in this backup: copy the bucket, or keep its versions" >&2 ;;
  *) copy ingestion /data data.tar.gz ;;
esac
mv "$partial" "$folder"
echo "$folder: $(du -sh "$folder" | cut -f1)"
