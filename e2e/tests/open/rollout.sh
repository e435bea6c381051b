# Constant load during a rolling restart of the data plane: no request fails. Open: on a fast machine 2 to 5 of 8,500
# connections are refused in the 25 ms in which kube-proxy takes up the new pod, before any old pod is told to end; whose
# fault that is has not been found.

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

sleep 3
stop_load
