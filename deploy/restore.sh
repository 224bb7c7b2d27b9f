#!/bin/bash
# Restores the database and the data root from a copy of deploy/backup.sh: deploy/restore.sh FOLDER
# Replaces the current data, once all of the backup is unpacked beside it.
set -euo pipefail
folder=$(realpath "${1:?the folder of a backup}")
cd "$(dirname "$0")/.."
read -r root < "$folder/data-root"
volumes=(postgres:/var/lib/postgresql/data:database)
case $root in
  s3://*) echo "WARNING: the data root $root is not in this backup: it stays as it is" >&2 ;;
  *) volumes+=(ingestion:/data:data) ;;
esac
for volume in "${volumes[@]}"; do
  gzip --test "$folder/${volume##*:}.tar.gz"
done

project=$(docker compose config | sed -n 's/^name: //p')
runs=$(docker ps --quiet --filter "label=taxi.run=$project" | wc -l)
[ "$runs" = 0 ] || { echo "$runs runs are in progress: wait for them or cancel them first" >&2; exit 1; }

within() { # runs a script in the folder of a volume
  IFS=: read -r service path _ <<< "$1"
  docker compose run --rm --no-deps --no-TTY --workdir "$path" --entrypoint sh "$service" -euc "$2"
}
trap 'docker compose up --detach --wait' EXIT
docker compose stop
for volume in "${volumes[@]}"; do
  gunzip --stdout "$folder/${volume##*:}.tar.gz" |
    within "$volume" 'rm -rf .restored; mkdir .restored; tar -C .restored -xf - || { rm -rf .restored; exit 1; }'
done
for volume in "${volumes[@]}"; do
  within "$volume" '
    mkdir .before
    find . -mindepth 1 -maxdepth 1 ! -name .before ! -name .restored -exec mv -t .before {} +
    find .restored -mindepth 1 -maxdepth 1 -exec mv -t . {} +
    rm -rf .before .restored' < /dev/null
done
