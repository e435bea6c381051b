# HTTP listeners that are added and removed under load: they are served, no request fails, pods and varnishd stay.

echo_backend echo 2
listeners() { # PORT...
  local port all=
  for port; do all+="{name: http-$port, port: $port, protocol: HTTP},"; done
  apply <<YAML
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: $CLASS
  listeners: [$all]
YAML
}
listeners 80
route echo edge ports.example echo
address=$(programmed_gateway edge)
wait_for 30 "route served" served "$address" ports.example /
varnishds() { # how often varnishd's child was started in each pod
  local pod
  for pod in $(pods_of edge); do
    k get --raw "/api/v1/namespaces/$NAMESPACE/${pod/pod\//pods/}:19145/proxy/status" | jq .child_starts
  done
}
before="$(starts_of edge) $(varnishds)"
# Of this generation: the pods say that they serve the new port.
is_programmed() {
  kn get gateway/edge -o json | jq -e '.metadata.generation as $g | .status.conditions[]
    | select(.type == "Programmed" and .status == "True" and .observedGeneration == $g)' >/dev/null
}

start_load "$address" ports.example
for _ in 1 2 3 4 5 6; do
  say "port 8080 added"
  listeners 80 8080
  wait_for 30 "programmed" is_programmed
  wait_for 30 "port 8080 served" served "$address:8080" ports.example /
  say "port 8080 removed"
  listeners 80
  gone() { ! served "$address:8080" ports.example / 2>/dev/null; }
  wait_for 30 "port 8080 closed" gone
done
stop_load

after="$(starts_of edge) $(varnishds)"
[ "$before" = "$after" ] || fail "not the pods and varnishds of before: $before / $after"
