# Makes the only folder that a run uses on a remote machine, with what is needed to restore the machine later.
# Prints the folder's path.
#
#   RUN      the run's id
#   UNIT...  the names that the run gives to units
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
# Lists what does not exist yet, because leave.sh has to remove it.
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
# The run has separate image storage, so that the user's images neither conflict with it nor are touched.
mkdir "$run/data"
cat >"$run/storage.conf" <<TEXT
[storage]
driver = "overlay"
graphroot = "$run/data/containers/storage"
runroot = "$runtime/assay-$name"
TEXT
echo "$run"
