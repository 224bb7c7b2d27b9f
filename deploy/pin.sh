#!/bin/bash
# Prints the current digests of the base images as settings: deploy/pin.sh >> .env
# Builds and containers then use these images until the lines are renewed.
set -euo pipefail
while read -r setting image; do
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$image: no digest, but ${digest:-nothing}" >&2; exit 1; }
  echo "$setting=@$digest"
done <<'IMAGES'
TAXI_PYTHON_3_11_DIGEST python:3.11-slim-bookworm
TAXI_PYTHON_3_12_DIGEST python:3.12-slim-bookworm
TAXI_PYTHON_3_13_DIGEST python:3.13-slim-bookworm
TAXI_UV_DIGEST ghcr.io/astral-sh/uv:0.13
TAXI_POSTGRES_DIGEST postgres:16
TAXI_NGINX_DIGEST nginx:1
IMAGES
