#!/usr/bin/env bash
# bench-routes.sh [FLAGS]: measures, with the program in bench/routes, how the operator and a Gateway's data plane follow
# routes; boots the cluster and deploys Copal first if need be. FLAGS are the program's (`-h`), for example `-runs 3` or
# `-tests probe`. Prints a table, and one JSON object as the last line.
set -euo pipefail
. "$(dirname "$0")/config.sh"
. "$HERE/lib.sh"
case " $* " in *' -h '* | *' -help '* | *' --help '*) "$HERE/build.sh" bench >&2; exec "$BIN/bench-routes" -h ;; esac
"$HERE/prepare.sh" >&2
"$HERE/build.sh" bench >&2

# The Gateway first: only pods that exist when a test starts are measured.
# Another namespace each time: one with a Gateway takes minutes to go, as its pods may take ten to drain.
NAMESPACE=bench-routes-$(date +%s)
finish() {
  kn delete gateways --all --wait=false >&2 || true
  k delete namespace "$NAMESPACE" --wait=false >&2 || true
}
trap finish EXIT
k create namespace "$NAMESPACE" >&2
gateway bench
programmed_gateway bench >/dev/null
if [ -n "$EXTERNAL" ]; then measure=()   # its pods run on other machines
else measure=(-measure "operator=$SYSTEM_NAMESPACE/$(operator_selector) data_plane=$NAMESPACE/gateway.networking.k8s.io/gateway-name=bench"); fi
in_node "$BIN/bench-routes" -keep -kubeconfig "$KUBECONFIG_ADMIN" -class "$CLASS" -gateway bench -namespace "$NAMESPACE" "${measure[@]}" "$@"
