# Removes a set's secrets and, where Podman's storage is the run's own, its pods, volumes and networks.
#
#   SECRET...
for secret; do podman secret rm "$secret"; done >/dev/null
[ -n "$CONTAINERS_STORAGE_CONF" ] || exit 0
podman pod rm --all --force >/dev/null
podman volume rm --all --force >/dev/null
podman network prune --force >/dev/null
:
