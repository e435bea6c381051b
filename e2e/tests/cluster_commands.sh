# `copal status --cluster` and `copal explain --cluster` tell what is in the cluster.

echo_backend echo
gateway edge
route echo edge told.example echo
address=$(programmed_gateway edge)
wait_for 30 "route served" served "$address" told.example /
copal() { in_node env KUBECONFIG="$KUBECONFIG_ADMIN" "$BINARIES/copal" "$@"; }

say "status"
status=$(copal status --cluster -o json)
jq -e --arg namespace "$NAMESPACE" '
  any(.[]; .kind == "Gateway" and .metadata.namespace == $namespace
    and any(.status.conditions[]; .type == "Programmed" and .status == "True"))' <<<"$status" >/dev/null ||
  fail "no Gateway that is programmed: $status"

say "explain"
explained=$(copal explain --cluster --gateway "$NAMESPACE/edge" http://told.example/path)
grep -q "HTTPRoute $NAMESPACE/echo rule 0" <<<"$explained" || fail "not the route: $explained"
grep -q "$NAMESPACE/echo:80" <<<"$explained" || fail "not the backend: $explained"
copal explain --cluster --gateway "$NAMESPACE/edge" http://nobody.example/ | grep -q 404 || fail "a host of nobody is answered"
! copal explain --cluster --gateway "$NAMESPACE/nobody" http://told.example/ 2> "$SCRATCH/error" || fail "a Gateway that is not there"
grep -q "Gateway $NAMESPACE/nobody is not there" "$SCRATCH/error" || fail "what is wrong: $(cat "$SCRATCH/error")"
