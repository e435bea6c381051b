# Constant load while one thing after another goes wrong: no request fails.

apply <<'YAML'
apiVersion: copal.dev/v1alpha1
kind: GatewayClassParameters
metadata: {name: two}
spec: {replicas: 2}
YAML
echo_backend echo 2
gateway edge two
route echo edge faults.example echo
address=$(programmed_gateway edge)
wait_for 30 "route served" served "$address" faults.example /
plane=deployment/$(data_plane edge)
kn rollout status "$plane" --timeout=120s
is 2 eval 'pods_of edge | wc -l' || fail "not 2 pods: $(pods_of edge)"

start_load "$address" faults.example

# A new route is served: the operator works, and data planes follow it.
follows() { route "$1" edge "$1.example" echo; wait_for 60 "$1.example served" served "$address" "$1.example" /; }

say "rolling restart of the data plane"
kn rollout restart "$plane" >/dev/null
kn rollout status "$plane" --timeout=300s
# The pods of before end when their clients are gone.
wait_for 120 "old pods gone" is 2 eval 'pods_of edge | wc -l'
follows after-restart

say "operator killed"
k -n "$SYSTEM_NAMESPACE" delete $(operator_pods) --grace-period=0 --force 2>/dev/null
k -n "$SYSTEM_NAMESPACE" rollout status deployment/copal-operator --timeout=120s
follows after-operator

if [ -z "$EXTERNAL" ]; then
  say "apiserver killed, and started again"
  kill -KILL "$(cut -d' ' -f1 "$RUN/pids/kube-apiserver")"
  wait_for 10 "apiserver dead" eval '! running kube-apiserver'
  sleep 5
  "$HERE/up.sh" | tail -n 1
  follows after-apiserver
fi

say "ConfigMaps of the bundle deleted"
index=configmap/$(data_plane edge)
maps=$(kn get configmaps -o name | grep "^$index")
kn delete $maps
wait_for 60 "$index made again" kn get "$index"
follows after-configmap

sleep 3
stop_load
