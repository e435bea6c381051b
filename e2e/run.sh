#!/usr/bin/env bash
# run.sh: all of it. Installs, builds, boots the cluster, deploys Copal, runs the conformance suite and the tests in
# tests/, and takes the cluster down, whatever came of it. With E2E_KUBECONFIG, in that cluster. Exit code 1 if
# anything failed; logs are kept then.
set -uo pipefail
. "$(dirname "$0")/config.sh"
[ -n "$EXTERNAL" ] || need_own_cluster
start=$(now_ms) keeper=
finish() {
  local code=$? ms
  trap - EXIT INT TERM
  if [ "$code" != 0 ]; then sleep 1; "$HERE/logs.sh" save; fi
  [ -z "$keeper" ] || { kill "$keeper" && wait "$keeper"; } 2>/dev/null
  [ -n "$EXTERNAL" ] || "$HERE/down.sh" >/dev/null || code=1
  ms=$(( $(now_ms) - start ))
  echo "e2e: $([ "$code" = 0 ] && echo passed || echo FAILED), $((ms / 60000)) min $((ms / 1000 % 60)) s"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -z "$EXTERNAL" ]; then "$HERE/logs.sh" keep & keeper=$!; fi
"$HERE/prepare.sh" || exit 1
failed=
echo "== conformance"
"$HERE/conformance.sh" || failed=yes
echo "== e2e/tests"
"$HERE/run-tests.sh" || failed=yes
[ -z "$failed" ]
