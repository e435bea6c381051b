# Settings and helpers that all scripts here share. Sourced, never run. Each setting can be overridden from the
# environment; two checkouts can have a cluster at the same time if their E2E_NAME differ.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")

NAME=${E2E_NAME:-copal-e2e}              # network namespace, cgroup and node
STATE=${E2E_STATE:-/var/lib/$NAME}       # everything that the cluster keeps; down.sh removes it
RUN=${E2E_RUN:-/run/$NAME}               # sockets, pid files, containerd's mounts
TARGET=${E2E_TARGET:-${CARGO_TARGET_DIR:-$ROOT/target}/e2e}   # what is built, and logs; down.sh leaves it
BIN=$TARGET/bin
ARCHIVES=$TARGET/archives                # images that up.sh imports
PREBUILT=${E2E_PREBUILT-$ROOT/../shared/cluster/prebuilt}     # NAME.xz: programs that need not be built
REPORTS=$HERE/reports
SAVED_LOGS=$TARGET/logs                  # kept when a run fails
LOGS=$STATE/logs                         # the cluster's daemons
NETNS=/run/netns/$NAME

KUBE_VERSION=1.36.3                      # must match kube/go.mod

# All addresses live only inside the network namespace, which has no uplink. They are taken from 198.18.0.0/15
# (RFC 2544, for test benches), so even a mistake can never name a real host.
E2E_CIDR=198.18.0.0/15
NODE_IP=198.19.255.1
POD_CIDR=198.18.0.0/16
SERVICE_CIDR=198.19.0.0/17
API_SERVICE_IP=198.19.0.1                # first of SERVICE_CIDR
DNS_IP=198.19.0.10                       # nobody answers there; without one kubelet warns about each pod
LB_POOL=198.19.128.0/24                  # addresses for Services of type LoadBalancer

PAUSE_IMAGE=registry.k8s.io/pause:3.10
ECHO_VERSIONS="v1.5.1 v1.6.0-dev.2 v1.6.0-dev.3"   # tags in the manifests of suite v1.6.1
ECHO_IMAGE=registry.k8s.io/gateway-api/echo-basic:v1.5.1
COREDNS_VERSION=v1.12.2                            # likewise

CLASS=copal                              # GatewayClass, of manifests/gatewayclass.yaml
SYSTEM_NAMESPACE=copal-system            # where the operator runs

CONTAINERD_SOCK=$RUN/containerd/containerd.sock
# With E2E_KUBECONFIG everything goes to that cluster, and none is built.
EXTERNAL=${E2E_KUBECONFIG:+yes}
KUBECONFIG_ADMIN=${E2E_KUBECONFIG:-$STATE/admin.conf}

die() { echo "${0##*/}: $*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must be root"; }

# Runs a command where pods, Services and load balancers can be reached: in the node's network namespace, or right
# here for a cluster that is not ours. Mounts are left alone: `ip netns exec` would make a mount namespace and
# mount /sys anew, which hides the cgroups and keeps kubelet's volumes from containerd.
in_node() { if [ -n "$EXTERNAL" ]; then "$@"; else nsenter --net="$NETNS" -- "$@"; fi; }
# The same, and the command becomes this shell's process.
enter_node() { if [ -n "$EXTERNAL" ]; then exec "$@"; else exec nsenter --net="$NETNS" -- "$@"; fi; }

# kubectl as the cluster's administrator.
k() { in_node "$BIN/kubectl" --kubeconfig "$KUBECONFIG_ADMIN" "$@"; }

ctr_() { ctr --address "$CONTAINERD_SOCK" -n k8s.io "$@"; }

# A daemon's pid file holds its pid and its start time, so that a reused pid is never taken for it. A zombie does
# not count as running: pid 1 may be slow to reap.
started() { awk '{sub(/^.*\) /, ""); if ($1 != "Z") print $20}' "/proc/$1/stat" 2>/dev/null; }
running() {
  local pid at
  read -r pid at 2>/dev/null < "$RUN/pids/$1" && [ -n "$at" ] && [ "$(started "$pid")" = "$at" ]
}

# Ends the script if the cluster of that name was booted by another checkout that is still there.
need_own_cluster() {
  local owner
  owner=$(cat "$STATE/checkout" 2>/dev/null) || return 0
  [ "$owner" = "$ROOT" ] || [ ! -d "$owner/e2e" ] || die "the cluster $NAME is of the checkout $owner: take it down there, or set E2E_NAME"
}

now_ms() { echo $(( $(date +%s%N) / 1000000 )); }

# step TEXT COMMAND...: says how long a step took, and ends the script if it failed.
# A command runs in a subshell with the script's own `-e`, which `"$@" || die` would switch off in all it calls.
step() {
  local text=$1 t0 ms code errexit=+e; shift
  [[ $- != *e* ]] || errexit=-e
  t0=$(now_ms)
  set +e; ( set "$errexit"; "$@" ); code=$?; set "$errexit"
  [ "$code" = 0 ] || die "failed: $text"
  ms=$(( $(now_ms) - t0 ))
  printf '%5d.%02ds  %s\n' $((ms / 1000)) $((ms % 1000 / 10)) "$text"
}

# wait_for SECONDS TEXT COMMAND...: polls until the command succeeds.
wait_for() {
  local limit=$1 text=$2 end; shift 2
  end=$(( $(date +%s) + limit ))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || { echo "not within $limit s: $text" >&2; return 1; }
    sleep 0.1
  done
}
