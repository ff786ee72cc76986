#!/usr/bin/env bash
# curl's own retries: the key is made once, on the command line, and goes with every attempt.
# Usage: curl.sh URL. Prints the last status, and the body.
set -euo pipefail
body=$(mktemp)
trap 'rm -f "$body"' EXIT
status=$(curl --silent --show-error --fail --retry 8 --retry-all-errors --retry-delay 1 \
    --max-time 2 --output "$body" --write-out '%{http_code}' \
    --header "Authorization: Bearer mfk_test" \
    --header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" \
    --header "Content-Type: application/json" \
    --data '{"branch":"feature/checkout","type":"preview"}' "$1" 2>/dev/null)
# A status is written for each attempt.
echo "${status: -3} $(cat "$body")"
