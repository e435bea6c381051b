# What tests in tests/ can use, besides config.sh's k (kubectl), in_node and wait_for. The runner sources it and sets
# NAMESPACE and the folder SCRATCH, which are the test's own: made before it starts, deleted when it is over. Processes
# in the array `background` are ended then.
#
# A test is a bash script under `set -euo pipefail`: it passes if it gets to its end.

say() { echo "--- $(date +%T) $*"; }
fail() { echo "!!! $*" >&2; exit 1; }

kn() { k -n "$NAMESPACE" "$@"; }                 # kubectl in the test's namespace
apply() { kn apply -f - >/dev/null; }            # applies its input there
field() { kn get "$1" -o "jsonpath=$2"; }        # field KIND/NAME PATH

# is WANTED COMMAND...: whether a command prints just that; for wait_for.
is() { local wanted=$1; shift; [ "$("$@")" = "$wanted" ]; }
nonempty() { [ -n "$("$@")" ]; }

# echo_backend NAME [REPLICAS]: pods that tell what they were asked, behind a Service of that name on port 80. Their
# server ends at once on SIGTERM, so it is given the time in which proxies learn that it is going to.
echo_backend() {
  apply <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1}
spec:
  replicas: ${2:-1}
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec:
      containers:
      - name: echo
        image: $ECHO_IMAGE
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        readinessProbe: {httpGet: {path: /health, port: 3000}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
---
apiVersion: v1
kind: Service
metadata: {name: $1}
spec: {selector: {app: $1}, ports: [{port: 80, targetPort: 3000}]}
YAML
  kn rollout status "deployment/$1" --timeout=60s >/dev/null
}

# gateway NAME [PARAMETERS]: a Gateway with an HTTP listener on port 80; PARAMETERS names GatewayClassParameters.
gateway() {
  local parameters=
  [ -z "${2:-}" ] || parameters="infrastructure: {parametersRef: {group: copal.dev, kind: GatewayClassParameters, name: $2}}"
  apply <<YAML
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: $1}
spec:
  gatewayClassName: $CLASS
  listeners: [{name: http, port: 80, protocol: HTTP}]
  $parameters
YAML
}

# route NAME GATEWAY HOST BACKEND: an HTTPRoute of all paths of a host.
route() {
  apply <<YAML
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: $1}
spec:
  parentRefs: [{name: $2}]
  hostnames: [$3]
  rules: [{backendRefs: [{name: $4, port: 80}]}]
YAML
}

# condition KIND/NAME TYPE: its status, reason and message.
condition() { field "$1" "{range .status.conditions[?(@.type==\"$2\")]}{.status} {.reason} {.message}{end}"; }
programmed() { condition "gateway/$1" Programmed | grep -q '^True'; }
gateway_address() { field "gateway/$1" '{.status.addresses[0].value}'; }

# programmed_gateway NAME: waits, and prints its address.
programmed_gateway() {
  wait_for 60 "Gateway $1 programmed" programmed "$1" || fail "Gateway $1: $(condition "gateway/$1" Programmed)"
  gateway_address "$1"
}

# get ADDRESS HOST PATH [CURL OPTIONS]: the body; fails unless the status is below 400.
get() {
  local address=$1 host=$2 path=$3; shift 3
  in_node curl -sS -f --max-time 5 -H "Host: $host" "$@" "http://$address$path"
}
served() { get "$@" -o /dev/null; }

# What the Gateway's data plane is: its Deployment's name, its pods, and how often each of them was started.
data_plane() { echo "$1-$CLASS"; }
pods_of() { kn get pods -l "gateway.networking.k8s.io/gateway-name=$1" -o name; }
starts_of() {
  kn get pods -l "gateway.networking.k8s.io/gateway-name=$1" --sort-by=.metadata.uid \
    -o 'jsonpath={range .items[*]}{.metadata.uid}:{.status.containerStatuses[*].restartCount}{"\n"}{end}'
}
# logs_of GATEWAY: everything its pods wrote.
logs_of() { local pod; for pod in $(pods_of "$1"); do kn logs "$pod" --all-containers; done; }

operator_selector() {
  k -n "$SYSTEM_NAMESPACE" get deployment copal-operator -o json |
    jq -r '.spec.selector.matchLabels | to_entries | map("\(.key)=\(.value)") | join(",")'
}
operator_pods() { k -n "$SYSTEM_NAMESPACE" get pods -l "$(operator_selector)" -o name; }

# start_load ADDRESS HOST: constant load until stop_load, which fails the test if a request failed.
start_load() {
  ( enter_node "$BIN/load" -url "http://$1/" -host "$2" -rate 200 ) > "$SCRATCH/load.json" 2> "$SCRATCH/load.faults" &
  load=$!
  background+=("$load")
}
stop_load() {
  kill -TERM "$load" && wait "$load" || fail "the load program failed: $(cat "$SCRATCH/load.faults")"
  say "load: $(cat "$SCRATCH/load.json")"; cat "$SCRATCH/load.faults"
  [ "$(jq .requests "$SCRATCH/load.json")" -gt 1000 ] || fail "too few requests to tell"
  jq -e ".failed == 0 and .late == 0" "$SCRATCH/load.json" >/dev/null || fail "requests failed"
}
