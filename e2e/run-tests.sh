#!/usr/bin/env bash
# run-tests.sh [NAME...]: runs tests/NAME.sh, or all of them, against the running cluster. Prints `ok NAME` or
# `FAILED NAME` with the end of what it said; the whole of that is in target/e2e/logs/tests. The last line counts.
set -euo pipefail
. "$(dirname "$0")/config.sh"
. "$HERE/image-names.sh"
export DATA_PLANE_IMAGE; DATA_PLANE_IMAGE=$(data_plane_image)
logs=$SAVED_LOGS/tests
mkdir -p "$logs"
passed=0 failed=0

one() ( # in a shell of its own, so that nothing of a test outlives it
  set -euo pipefail
  . "$HERE/lib.sh"
  # Another one each time: a namespace with a Gateway takes minutes to go, as its pods may take ten to drain.
  NAMESPACE=e2e-$(tr _ - <<<"$1")-$(date +%s)
  SCRATCH=$(mktemp -d)
  background=()
  finish() {
    [ ${#background[@]} = 0 ] || kill "${background[@]}" 2>/dev/null || true
    rm -rf "$SCRATCH"
    kn delete gateways --all --wait=false >/dev/null 2>&1 || true
    k delete namespace "$NAMESPACE" --wait=false --ignore-not-found >/dev/null 2>&1 || true
  }
  trap finish EXIT
  k create namespace "$NAMESPACE" >/dev/null
  wait_for 30 "service account" kn get serviceaccount default
  . "$HERE/tests/$1.sh"
)

names=("$@")
[ ${#names[@]} != 0 ] || for file in "$HERE"/tests/*.sh; do names+=("$(basename "$file" .sh)"); done
for name in "${names[@]}"; do
  [ -e "$HERE/tests/$name.sh" ] || die "no test $name; there are: $(cd "$HERE/tests" && ls -- *.sh | sed 's/\.sh$//' | tr '\n' ' ')"
  start=$(now_ms) code=0
  # In the background, as `one || ...` would switch `set -e` off inside.
  one "$name" > "$logs/$name.log" 2>&1 &
  wait $! || code=$?
  seconds=$(( ($(now_ms) - start) / 1000 ))
  if [ "$code" = 0 ]; then
    passed=$((passed + 1)); echo "ok $name (${seconds}s)"
  else
    failed=$((failed + 1)); echo "FAILED $name (${seconds}s)"
    tail -n 25 "$logs/$name.log" | sed 's/^/    /'
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
