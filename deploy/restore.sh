#!/bin/bash
# Puts database and data root back to what deploy/backup.sh has copied: deploy/restore.sh FOLDER
# What is there now is gone afterwards.
set -euo pipefail
folder=$(realpath "${1:?the folder of a backup}")
cd "$(dirname "$0")/.."
for file in database data; do
  gzip --test "$folder/$file.tar.gz"
done

project=$(docker compose config | sed -n 's/^name: //p')
runs=$(docker ps --quiet --filter "label=taxi.run=$project" | wc -l)
[ "$runs" = 0 ] || { echo "$runs runs are going: wait for them or cancel them first" >&2; exit 1; }

docker compose stop
put() {
  gunzip --stdout "$folder/$3" | docker compose run --rm --no-deps --no-TTY --entrypoint sh "$1" \
    -c "find $2 -mindepth 1 -delete && tar -C $2 -xf -"
}
put postgres /var/lib/postgresql/data database.tar.gz
put ingestion /data data.tar.gz
docker compose up --detach --wait
