#!/usr/bin/env bash
# image.sh: makes an OCI image archive out of a static binary, with nothing but tar, sha256sum and jq.
#
#   image.sh [-u USER:GROUP] NAME[,NAME...] BINARY
#
# The binary becomes /<its file name> and the entrypoint, on a root with only /tmp and an /etc/passwd of root and
# nonroot (65532). NAMEs must be full references; never use :latest, whose pull policy is Always: there is no registry
# to pull from.
set -euo pipefail
. "$(dirname "$0")/config.sh"

user=
while getopts u: opt; do
  case $opt in u) user=$OPTARG ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
[ $# = 2 ] || die "usage: image.sh [-u USER:GROUP] NAME[,NAME...] BINARY"
names=$1 binary=$2
first=${names%%,*}
out=$ARCHIVES/$(tr '/:' '__' <<<"${first##*.io/}").tar
[ ! "$out" -nt "$binary" ] || [ ! "$out" -nt "$0" ] || exit 0

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
layout=$work/layout; mkdir -p "$layout/blobs/sha256" "$ARCHIVES"

root=$work/root
mkdir -p "$root/etc" "$root/tmp"; chmod 1777 "$root/tmp"; chmod 755 "$root"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' > "$root/etc/group"
install -m 755 "$binary" "$root/"
entry="[\"/$(basename "$binary")\"]"

# blob FILE: moves a file into the layout by its digest; prints "sha256:.. size"
blob() {
  local sum; sum=$(sha256sum "$1" | cut -d' ' -f1)
  stat -c "sha256:$sum %s" "$1"; mv "$1" "$layout/blobs/sha256/$sum"
}
# Reproducible bytes: sorted names, fixed owner and times.
tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer" .
read -r layer layer_size < <(blob "$work/layer")
jq -nc --arg user "$user" --argjson entry "$entry" --arg layer "$layer" '
  {architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z",
   config: {User: $user, Env: ["PATH=/"], Entrypoint: $entry, WorkingDir: "/"},
   rootfs: {type: "layers", diff_ids: [$layer]}}' > "$work/config"
read -r config config_size < <(blob "$work/config")
jq -nc --arg c "$config" --argjson cs "$config_size" --arg l "$layer" --argjson ls "$layer_size" '
  {schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
   config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $c, size: $cs},
   layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $l, size: $ls}]}' > "$work/manifest"
read -r manifest manifest_size < <(blob "$work/manifest")
jq -nc --arg m "$manifest" --argjson ms "$manifest_size" --arg names "$names" '
  {schemaVersion: 2, manifests: [$names | split(",")[] |
    {mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $m, size: $ms,
     annotations: {"io.containerd.image.name": ., "org.opencontainers.image.ref.name": sub("^.*:"; "")}}]}' > "$layout/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"
tar -C "$layout" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$out" .
