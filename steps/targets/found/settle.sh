# Makes the one folder that a run has on a machine of somebody else's, with what is needed to leave the machine as it was.
# Says where the folder is.
#
#   RUN      its id
#   UNIT...  the names that it gives to units
set -eu
umask 077
run=$HOME/.assay-$1
runtime=${XDG_RUNTIME_DIR:-$run/run}
mkdir "$run"
mkdir -p "$runtime"
name=$1
shift
printf '%s\n' "$@" >"$run/units"
: >"$run/provisioned"
# What is not there yet: it goes again.
for folder in .cache .cache/containers .config .config/containers .config/containers/systemd .config/systemd \
    .config/systemd/user oom .local .local/share .local/share/containers; do
    [ -e "$HOME/$folder" ] || echo "$HOME/$folder"
done >"$run/absent"
for thing in "$runtime/containers" "$runtime/crun" "$runtime/libpod" "$runtime/netns" "$runtime/networks" \
    "$runtime/containers/systemd" "/dev/shm/libpod_rootless_lock_$(id -u)"; do
    [ -e "$thing" ] || echo "$thing"
done >>"$run/absent"
waits=podman-user-wait-network-online
if [ -d /run/systemd/system ]; then
    systemctl --user --quiet is-active "$waits.service" || echo "$waits" >>"$run/absent"
fi
# Its images are nobody else's: no name of the user's can be in the way, and none is touched.
mkdir "$run/data"
cat >"$run/storage.conf" <<TEXT
[storage]
driver = "overlay"
graphroot = "$run/data/containers/storage"
runroot = "$runtime/assay-$name"
TEXT
echo "$run"
