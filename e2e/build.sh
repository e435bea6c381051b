#!/usr/bin/env bash
# build.sh: builds, from Go modules and a C file, all that the cluster runs, and every image that the conformance
# suite asks for. Needs Go, gcc and jq. With warm caches it takes seconds.
#
#   build.sh [kube|kubectl|images|conformance|bench]...   (default: all but bench)
#
# Programs that lie packed in the folder E2E_PREBUILT are unpacked instead. E2E_PREBUILT= builds everything.
set -euo pipefail
. "$(dirname "$0")/config.sh"
export CGO_ENABLED=0
# The same flags for all, and the same versions of shared dependencies in the go.mod files, so that what they share is
# compiled once. The tags are those of Kubernetes' own release build.
flags=(-trimpath -tags grpcnotrace,notest)
mkdir -p "$BIN" "$ARCHIVES"

# prebuilt NAME: unpacks it, if it is there and newer.
prebuilt() {
  local packed=$PREBUILT/$1.xz
  [ -n "$PREBUILT" ] && [ -e "$packed" ] || return 1
  [ "$BIN/$1" -nt "$packed" ] && return
  xz -dc -T0 "$packed" > "$BIN/$1.new" && chmod 755 "$BIN/$1.new" && mv "$BIN/$1.new" "$BIN/$1"
}

# compile NAME FOLDER PACKAGE [LDFLAGS]
compile() { (cd "$2" && go build "${flags[@]}" -ldflags "-s -w ${4:-}" -o "$BIN/$1" "$3"); }

# Linker flags that say Kubernetes' version, which its programs compare with each other.
version_flags() {
  local v=$KUBE_VERSION package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s=%s ' $package.gitVersion "v$v" $package.gitMajor "${v%%.*}" $package.gitMinor "$(cut -d. -f2 <<<"$v")" \
      $package.gitTreeState clean $package.gitCommit go-module $package.buildDate 1970-01-01T00:00:00Z
  done
}

kube() {
  local program
  prebuilt kube || compile kube "$HERE/kube" . "$(version_flags)"
  for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy lb; do
    ln -sf kube "$BIN/$program"
  done
}

# A kubectl of the machine does as well, if it is not too old; wrappers of clouds are taken by their own path.
usable_kubectl() {
  local minor
  minor=$(command -v kubectl >/dev/null && kubectl version --client -o json 2>/dev/null | jq -r '.clientVersion.minor' | tr -dc 0-9)
  [ "${minor:-0}" -ge 30 ]
}
kubectl_() {
  if prebuilt kubectl; then return; fi
  if [ -n "$PREBUILT" ] && usable_kubectl; then ln -sf "$(command -v kubectl)" "$BIN/kubectl"; return; fi
  [ ! -L "$BIN/kubectl" ] || rm "$BIN/kubectl"
  compile kubectl "$HERE/kube" ./kubectl "$(version_flags)"
}

images() {
  local names='' version
  gcc -static -Os -s -o "$BIN/pause" "$HERE/pause.c"
  "$HERE/image.sh" -u 65535:65535 "$PAUSE_IMAGE" "$BIN/pause"

  # The suite's own echo server, out of the suite's own module: one image under each tag that its manifests name.
  prebuilt echo-basic || compile echo-basic "$HERE/conformance" sigs.k8s.io/gateway-api/conformance/echo-basic
  for version in $ECHO_VERSIONS; do names+=,registry.k8s.io/gateway-api/echo-basic:$version; done
  "$HERE/image.sh" -u 65532:65532 "${names#,}" "$BIN/echo-basic"

  # The suite waits for this one too, though no HTTP test uses it.
  prebuilt coredns || compile coredns "$HERE/coredns" .
  "$HERE/image.sh" "registry.k8s.io/coredns/coredns:$COREDNS_VERSION" "$BIN/coredns"
}

conformance() {
  prebuilt conformance.test ||
    (cd "$HERE/conformance" && go test -c "${flags[@]}" -ldflags "-s -w" -o "$BIN/conformance.test" .)
  compile load "$HERE/load" .
}

bench() { compile bench-routes "$ROOT/bench/routes" .; }

for what in ${*:-kube kubectl images conformance}; do
  case $what in
    kubectl) step "build kubectl" kubectl_ ;;
    kube | images | conformance | bench) step "build $what" "$what" ;;
    *) die "no such thing to build: $what" ;;
  esac
done
