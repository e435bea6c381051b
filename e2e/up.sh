#!/usr/bin/env bash
# up.sh: boots a Kubernetes of one node inside one network namespace that has no uplink. Idempotent: what runs already
# is left alone, what does not is started. Says how long each step took. build.sh must have run.
set -euo pipefail
. "$(dirname "$0")/config.sh"
[ -z "$EXTERNAL" ] || die "E2E_KUBECONFIG names a cluster; there is none to boot"
need_root
need_own_cluster
[ -x "$BIN/kube" ] || die "no $BIN/kube: run build.sh first"
start=$(now_ms)
umask 022
mkdir -p "$STATE"/{pki,etcd,kubelet,cni,cni-data,pod-logs} "$LOGS" "$RUN"/{pids,containerd}
echo "$ROOT" > "$STATE/checkout"

# ---- network ---------------------------------------------------------------
# Only lo, and later one veth per pod. The node's address is on lo. Service and
# load balancer addresses are local routes, so that a port that nothing serves
# refuses the connection at once; kube-proxy's DNAT comes before that.
network() {
  [ -e "$NETNS" ] || ip netns add "$NAME"
  ip -n "$NAME" link set lo up
  ip -n "$NAME" address replace "$NODE_IP/32" dev lo
  ip -n "$NAME" route replace local "$SERVICE_CIDR" dev lo src "$NODE_IP"
  ip -n "$NAME" route replace local "$LB_POOL" dev lo src "$NODE_IP"
  in_node sysctl -qw net.ipv4.ip_forward=1
  # Outside, these addresses are unreachable: a command that forgot in-node
  # fails at once, and sends nothing over the machine's default route.
  ip route replace unreachable "$E2E_CIDR"
}

# ---- cgroups ---------------------------------------------------------------
# Daemons go into /NAME/daemons and pods below /NAME, in every hierarchy, so
# that down.sh knows exactly which processes are ours.
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts; }
cgroups() {
  local root
  while read -r root; do
    mkdir -p "$root/$NAME/daemons" 2>/dev/null || continue
    if [ -e "$root/$NAME/cpuset.mems" ] && [ -e "$root/cpuset.mems" ]; then  # v1 cpusets start empty
      cat "$root/cpuset.cpus" > "$root/$NAME/cpuset.cpus"
      cat "$root/cpuset.mems" > "$root/$NAME/cpuset.mems"
    fi
  done < <(cgroup_roots)
}

# spawn NAME command...: starts a daemon in the node's network namespace,
# unless it runs already, and records its pid and start time.
spawn() {
  local name=$1 pid root; shift
  running "$name" && return
  ( # The subshell joins the cgroup first, and becomes the daemon by exec.
    for root in /sys/fs/cgroup/{systemd,pids,.}/"$NAME"/daemons; do
      [ ! -e "$root/cgroup.procs" ] || echo "$BASHPID" > "$root/cgroup.procs"
    done
    exec setsid nsenter --net="$NETNS" -- "$@" >> "$LOGS/$name.log" 2>&1 < /dev/null
  ) &
  pid=$!
  echo "$pid $(started "$pid")" > "$RUN/pids/$name"
}

# put FILE: writes its input there, atomically, and only if it differs: a
# rewritten file makes kube-proxy exit and containerd reload.
put() {
  cat > "$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# ---- certificates ----------------------------------------------------------
# cert FILE CN [O] [SAN]: a key and a certificate signed by the cluster's CA.
cert() {
  local f=$STATE/pki/$1 cn=$2 o=${3:-} san=${4:-}
  [ -s "$f.crt" ] && return
  openssl ecparam -name prime256v1 -genkey -noout -out "$f.key" 2>/dev/null
  openssl req -new -key "$f.key" -subj "${o:+/O=$o}/CN=$cn" -out "$f.csr"
  openssl x509 -req -in "$f.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -CAcreateserial -days 3650 \
    -extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"; [ -z "$san" ] || echo "subjectAltName=$san") \
    -out "$f.crt" 2>/dev/null
  rm "$f.csr"
}
# kubeconfig FILE NAME: certificates are inlined, so the file can be moved.
kubeconfig() {
  cat > "$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 "$STATE/pki/ca.crt")}}]
users: [{name: user, user: {client-certificate-data: $(base64 -w0 "$STATE/pki/$2.crt"), client-key-data: $(base64 -w0 "$STATE/pki/$2.key")}}]
contexts: [{name: e2e, context: {cluster: e2e, user: user}}]
current-context: e2e
YAML
  chmod 600 "$1"
}
certificates() {
  local p=$STATE/pki
  if [ ! -s "$p/ca.crt" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$p/ca.key" 2>/dev/null
    openssl req -x509 -new -key "$p/ca.key" -subj "/CN=$NAME-ca" -days 3650 -out "$p/ca.crt"
    openssl ecparam -name prime256v1 -genkey -noout -out "$p/sa.key" 2>/dev/null   # signs service account tokens
  fi
  cert apiserver kube-apiserver "" "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  cert admin admin system:masters
  cert controller-manager system:kube-controller-manager
  cert scheduler system:kube-scheduler
  cert proxy system:kube-proxy
  cert front-proxy front-proxy   # the apiserver's, towards aggregated API servers
  cert node "system:node:$NAME" system:nodes "DNS:$NAME,IP:$NODE_IP"
  local n
  for n in admin controller-manager scheduler proxy node; do
    [ -s "$STATE/$n.conf" ] || kubeconfig "$STATE/$n.conf" "$n"
  done
}

# ---- container runtime -----------------------------------------------------
runtime() {
  put "$STATE/containerd.toml" <<TOML
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$CONTAINERD_SOCK"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  netns_mounts_under_state_dir = true
  enable_unprivileged_ports = true
  restrict_oom_score_adj = true   # in a container even root may lack CAP_SYS_RESOURCE, and cannot lower a score
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "$RUN/runc"
TOML
  # ptp: one veth per pod and plain routing, so that service traffic between
  # two pods always passes the node's netfilter hooks (a bridge needs
  # br_netfilter for that).
  put "$STATE/cni/10-$NAME.conflist" <<JSON
{ "cniVersion": "0.4.0", "name": "$NAME", "plugins": [
  { "type": "ptp", "ipMasq": false,
    "ipam": { "type": "host-local", "dataDir": "$STATE/cni-data",
              "ranges": [[{ "subnet": "$POD_CIDR" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true } ] }
JSON
  spawn containerd containerd --config "$STATE/containerd.toml" --log-level warn
}
import_images() {
  wait_for 30 containerd ctr_ version
  local f
  for f in "$ARCHIVES"/*.tar; do
    # A stamp per archive, as an import of unchanged images costs time too.
    [ "$STATE/imported-$(basename "$f")" -nt "$f" ] && continue
    ctr_ images import "$f" >> "$LOGS/images.log" 2>&1
    touch "$STATE/imported-$(basename "$f")"
  done
}

# ---- control plane ---------------------------------------------------------
etcd() {
  # No fsync: this cluster's data need not outlive the machine.
  spawn etcd "$BIN/etcd" --name "$NAME" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster "$NAME=http://127.0.0.1:2380"
}
apiserver() {
  local p=$STATE/pki
  spawn kube-apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --secure-port 6443 --advertise-address "$NODE_IP" --service-cluster-ip-range "$SERVICE_CIDR" \
    --tls-cert-file "$p/apiserver.crt" --tls-private-key-file "$p/apiserver.key" --client-ca-file "$p/ca.crt" \
    --requestheader-client-ca-file "$p/ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$p/front-proxy.crt" --proxy-client-key-file "$p/front-proxy.key" \
    --kubelet-client-certificate "$p/admin.crt" --kubelet-client-key "$p/admin.key" \
    --kubelet-certificate-authority "$p/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$p/sa.key" --service-account-signing-key-file "$p/sa.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
}
controllers() {
  local p=$STATE/pki
  spawn kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$STATE/controller-manager.conf" \
    --authentication-kubeconfig "$STATE/controller-manager.conf" --authorization-kubeconfig "$STATE/controller-manager.conf" \
    --leader-elect=false --use-service-account-credentials --kube-api-qps 200 --kube-api-burst 400 \
    --service-account-private-key-file "$p/sa.key" --root-ca-file "$p/ca.crt" \
    --cluster-signing-cert-file "$p/ca.crt" --cluster-signing-key-file "$p/ca.key" \
    --flex-volume-plugin-dir "$STATE/kubelet/plugins"
  spawn kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$STATE/scheduler.conf" \
    --authentication-kubeconfig "$STATE/scheduler.conf" --authorization-kubeconfig "$STATE/scheduler.conf" \
    --leader-elect=false
  spawn lb "$BIN/lb" -kubeconfig "$STATE/admin.conf" -pool "$LB_POOL"
}

# ---- node ------------------------------------------------------------------
node() {
  [ -e "$STATE/resolv.conf" ] || : > "$STATE/resolv.conf"   # no upstream resolver: there is no uplink
  put "$STATE/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/node.crt
tlsPrivateKeyFile: $STATE/pki/node.key
containerRuntimeEndpoint: unix://$CONTAINERD_SOCK
cgroupDriver: cgroupfs
cgroupRoot: /$NAME
failCgroupV1: false          # 1.35 and newer refuse kernels that mount v1 controllers, as some still do
failSwapOn: false
resolvConf: $STATE/resolv.conf
clusterDNS: ["$DNS_IP"]
clusterDomain: cluster.local
podLogsDir: $STATE/pod-logs
volumePluginDir: $STATE/kubelet/plugins
maxPods: 250
serializeImagePulls: false
imageGCHighThresholdPercent: 100   # never: a removed image could not be pulled again
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 1%, imagefs.available: 1%}
YAML
  spawn kubelet "$BIN/kubelet" --config "$STATE/kubelet.yaml" --kubeconfig "$STATE/node.conf" \
    --root-dir "$STATE/kubelet" --hostname-override "$NAME" --node-ip "$NODE_IP"
  # Not mode iptables: where iptables-nft is beneath, its updates let some connections pass untranslated (docs/e2e.md).
  put "$STATE/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_CIDR
hostnameOverride: $NAME
clientConnection: {kubeconfig: $STATE/proxy.conf}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}   # leave the machine's settings alone
YAML
  spawn kube-proxy "$BIN/kube-proxy" --config "$STATE/kube-proxy.yaml"
}

node_ready() { k wait --for=condition=Ready "node/$NAME" --timeout=1s; }
account_ready() { k get serviceaccount default; }   # without it no pod is admitted

step "network namespace $NAME" network
step "cgroups" cgroups
step "certificates" certificates
step "start etcd, containerd" eval "etcd; runtime"
step "start apiserver" apiserver
step "import images" import_images
step "apiserver ready" wait_for 60 "apiserver (see $LOGS/kube-apiserver.log)" k get --raw /readyz
step "start controllers, kubelet, kube-proxy" eval "controllers; node"
step "node ready" wait_for 60 "node (see $LOGS/kubelet.log)" node_ready
step "service account ready" wait_for 30 "default service account" account_ready
ms=$(( $(now_ms) - start ))
printf '%5d.%02ds  in all; use %s\n' $((ms / 1000)) $((ms % 1000 / 10)) "$HERE/kubectl"
