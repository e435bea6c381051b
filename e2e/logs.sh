#!/usr/bin/env bash
# logs.sh keep: as long as its parent runs, keeps the logs of all pods, also of those that are deleted in the meantime.
# logs.sh save: gathers logs and objects in target/e2e/logs, and prints the ends of Copal's own.
set -uo pipefail
. "$(dirname "$0")/config.sh"
kept=$STATE/kept-logs
labels='app.kubernetes.io/name in (copal, copal-operator)'

# A hard link keeps a log when kubelet deletes it.
keep() {
  while kill -0 "$PPID" 2>/dev/null; do
    sleep 1
    [ -d "$STATE/pod-logs" ] && mkdir -p "$kept" || continue
    find "$STATE/pod-logs" -name '*.log' -printf '%P\n' 2>/dev/null | while read -r file; do
      to=$kept/$(tr / _ <<<"$file")
      [ -e "$to" ] || ln "$STATE/pod-logs/$file" "$to" 2>/dev/null
    done
  done
}

save() {
  local what
  mkdir -p "$SAVED_LOGS"
  rm -rf "$SAVED_LOGS/pods" "$SAVED_LOGS/daemons"; mkdir -p "$SAVED_LOGS/pods"
  for what in pods gateways httproutes gatewayclasses deployments events; do
    k get "$what" -A -o yaml > "$SAVED_LOGS/$what.yaml" 2>&1
  done
  if [ -n "$EXTERNAL" ]; then
    # Named as a node names its files: a data plane's container is called varnish.
    k get pods -A -l "$labels" -o 'jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.containers[0].name}{"\n"}{end}' |
      while read -r namespace pod container; do
        k -n "$namespace" logs "$pod" > "$SAVED_LOGS/pods/${namespace}_${pod}_${container}_.log" 2>&1
      done
  else
    cp "$kept"/* "$SAVED_LOGS/pods/" 2>/dev/null
    cp -r "$LOGS" "$SAVED_LOGS/daemons" 2>/dev/null
  fi
  tails
  echo "logs are in $SAVED_LOGS"
}
# The operator's logs, and those of the three data planes that wrote last.
tails() {
  local file
  cd "$SAVED_LOGS/pods" || return
  for file in $(ls -t "$SYSTEM_NAMESPACE"_* 2>/dev/null | head -n 2) \
              $(ls -t ./*_varnish_* 2>/dev/null | head -n 3); do
    echo "--- end of $file"
    tail -n 15 "$file" | cut -c1-400 | sed 's/^/    /'
  done
}
case ${1:-} in keep) keep ;; save) save ;; *) die "usage: logs.sh keep|save" ;; esac
