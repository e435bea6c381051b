#!/usr/bin/env bash
# install.sh: the Debian packages that cluster and images need; nothing to do if all are there. containerd, runc and
# the CNI plugins are Debian's; everything else is built by build.sh. Needs root.
set -euo pipefail
packages=(containerd runc containernetworking-plugins iptables nftables conntrack iproute2 util-linux procps openssl
          jq curl gcc libc6-dev xz-utils buildah debootstrap)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} = 0 ] || {
  export DEBIAN_FRONTEND=noninteractive
  echo "installing ${missing[*]}"
  apt-get update -q && apt-get install -yq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
} > /tmp/copal-e2e-install.$$ 2>&1 || { tail -n 20 /tmp/copal-e2e-install.$$; rm -f /tmp/copal-e2e-install.$$; exit 1; } >&2
rm -f /tmp/copal-e2e-install.$$
[ -n "${E2E_BINARIES:-}" ] || command -v cargo >/dev/null ||
  { echo "install.sh: Rust is missing; install it as https://rustup.rs says" >&2; exit 1; }
command -v go >/dev/null || { echo "install.sh: Go is missing; install 1.26 or later as https://go.dev/doc/install says" >&2; exit 1; }
