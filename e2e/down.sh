#!/usr/bin/env bash
# down.sh: stops the cluster and removes every trace of it: processes, mounts, network namespace, state. Touches only
# processes that up.sh recorded and those in this cluster's own cgroups. What was built stays below target/.
set -uo pipefail
. "$(dirname "$0")/config.sh"
[ -z "$EXTERNAL" ] || die "E2E_KUBECONFIG names a cluster that is not ours to stop"
need_root
need_own_cluster

recorded() { # pids of the recorded daemons that still run
  local f
  for f in "$RUN"/pids/*; do
    if running "${f##*/}"; then cut -d' ' -f1 "$f"; fi
  done
}
members() { # pids in our cgroups: daemons, containerd's shims, containers
  local root
  for root in /sys/fs/cgroup/{systemd,pids,.}; do
    [ ! -d "$root/$NAME" ] || find "$root/$NAME" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -un
}
gone() { [ -z "$("$@")" ]; }

processes() {
  # Daemons first, so that nothing is restarted; then what is left of the pods.
  local pids
  pids=$(recorded); [ -z "$pids" ] || kill -TERM $pids 2>/dev/null
  wait_for 2 "daemons" gone recorded 2>/dev/null
  pids=$( { recorded; members; } | sort -un ); [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
  wait_for 10 "processes of /$NAME" gone members
}
mounts() { # deepest first
  awk -v a="$STATE/" -v b="$RUN/" 'index($2, a) == 1 || index($2, b) == 1 {print $2}' /proc/mounts |
    sort -r | while read -r m; do umount -l "$m"; done
}
cgroups() {
  awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts | while read -r root; do
    [ ! -d "$root/$NAME" ] || find "$root/$NAME" -depth -type d -exec rmdir {} + 2>/dev/null
  done
}
files() {
  # At fixed places, and harmless: libcni's cache here; also left behind are
  # /var/lib/kubelet/device-plugins, /run/containerd/s and /var/log/containers.
  rm -f /var/lib/cni/results/"$NAME"-*
  if grep -q " \($STATE\|$RUN\)/" /proc/mounts; then die "mounts left below $STATE or $RUN"; fi
  rm -rf "$STATE" "$RUN"
}
step "processes" processes
step "mounts" mounts
step "cgroups" cgroups
network() {
  [ ! -e "$NETNS" ] || ip netns delete "$NAME"
  # Clusters of other names still need the route.
  [ -z "$(ls -d /var/lib/*/checkout 2>/dev/null | grep -vx "$STATE/checkout")" ] || return 0
  ip route delete unreachable "$E2E_CIDR" 2>/dev/null || true
}
step "network namespace" network
step "files" files
