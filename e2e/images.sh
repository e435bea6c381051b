#!/usr/bin/env bash
# images.sh: compiles Copal, builds its two images from the Containerfiles in images/, and imports them into the
# cluster if that runs. Where no registry can be reached the base image comes from debootstrap. Needs root and buildah.
#
# An image's tag is a hash of all that goes into it, so the same image is never built or imported twice, and a new one
# always makes new pods.
#
#   E2E_BINARIES    folder with copal, copal-reloader and copal-relay; nothing is compiled
#   E2E_STORAGE     buildah's storage driver: overlay, or vfs where overlay cannot be mounted
set -euo pipefail
. "$(dirname "$0")/config.sh"
. "$HERE/image-names.sh"
store=$TARGET/buildah
context=$TARGET/context

# A file system that is itself an overlay cannot hold another one.
driver() {
  if [ -n "${E2E_STORAGE:-}" ]; then echo "$E2E_STORAGE"
  elif [ "$(stat -f -c %T "$TARGET")" = overlayfs ]; then echo vfs
  else echo overlay; fi
}
b() { buildah --root "$store" --runroot "$store/run" --storage-driver "$(driver)" "$@"; }

compile() {
  [ -n "${E2E_BINARIES:-}" ] || (cd "$ROOT" && cargo build --release --bins)
}
# The binaries without their debug information, which is most of them.
fill_context() {
  local binary from
  mkdir -p "$context"
  for binary in copal copal-reloader copal-relay; do
    from=$BINARIES/$binary
    [ -x "$from" ] || die "no $from"
    [ ! "$context/$binary" -nt "$from" ] || continue
    strip --strip-debug -o "$context/$binary" "$from"
    touch "$context/$binary"
  done
}

base() {
  local root=$TARGET/base container
  ! b inspect --type image docker.io/library/debian:trixie-slim >/dev/null 2>&1 || return 0
  rm -rf "$root"
  debootstrap --variant=minbase trixie "$root" ${E2E_DEBIAN_MIRROR:-} > "$TARGET/debootstrap.log" 2>&1 ||
    { tail -n 20 "$TARGET/debootstrap.log" >&2; return 1; }
  ! grep -q " $root/" /proc/mounts || { umount "$root/proc" "$root/sys" 2>/dev/null || true; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*_* "$root"/var/cache/apt/*.bin
  container=$(b from scratch)
  b add -q "$container" "$root" / >/dev/null
  b config --cmd '["bash"]' --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  b commit -q --rm "$container" docker.io/library/debian:trixie-slim >/dev/null
  rm -rf "$root"
}

# image WHICH NAME: builds the image, and leaves it as an archive.
image() {
  local which=$1 name=$2 archive=$TARGET/$1.tar log=$TARGET/build-$1.log
  [ ! -e "$archive" ] || [ "$(cat "$archive.name" 2>/dev/null)" != "$name" ] || return 0
  # With --isolation chroot a RUN step needs no network of its own and no runtime.
  b bud -q --layers --isolation chroot --pull-never -t "$name" -f "$ROOT/images/$which.Containerfile" "$context" > "$log" 2>&1 ||
    { tail -n 20 "$log" >&2; return 1; }
  rm -f "$archive"
  b push -q -D "$name" "oci-archive:$archive:$name"
  echo "$name" > "$archive.name"
  forget "$name"
}
# Earlier builds of an image; what they share with this one stays.
forget() {
  local other
  b images --format '{{.Name}}:{{.Tag}}' | grep "^${1%:*}:" | grep -vx "$1" | while read -r other; do b rmi "$other" >/dev/null; done || true
}

import() { # WHICH NAME
  ctr_ images ls -q | grep -qx "$2" || ctr_ images import "$TARGET/$1.tar" >/dev/null
}

[ -z "$EXTERNAL" ] || die "E2E_KUBECONFIG names a cluster: build images as images/ says, and name them by variables"
need_root
mkdir -p "$TARGET"
step "compile Copal" compile
step "strip binaries" fill_context
step "base image" base
step "operator's image" image operator "$(operator_image)"
step "data plane's image" image data-plane "$(data_plane_image)"
if running containerd; then
  step "import" eval 'import operator "$(operator_image)"; import data-plane "$(data_plane_image)"'
fi
