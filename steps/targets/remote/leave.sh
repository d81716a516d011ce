# Restores a remote machine after a run: removes the run's units, images and folder. What is missing counts as removed.
# Prints what could not be removed.
#
#   RUN  the run's id
run=$HOME/.assay-$1
runtime=${XDG_RUNTIME_DIR:-$run/run}
[ -d "$run" ] || exit 0
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
export CONTAINERS_STORAGE_CONF="$run/storage.conf" XDG_DATA_HOME="$run/data"
while read -r unit; do
    quadlet=$HOME/.config/containers/systemd/$unit.container
    drop_in=$HOME/.config/systemd/user/$unit.service.d
    # All of these names were free before the run. Stopping a unit first lets it write its last output.
    if [ -e "$quadlet" ] || [ -e "$drop_in" ]; then
        systemctl --user stop "$unit.service"
        rm -rf "$quadlet" "$drop_in"
        systemctl --user reset-failed "$unit.service"
    fi
    rm -f "$runtime/$unit.stops" "$runtime/$unit.started"*
done <"$run/units" 2>/dev/null
systemctl --user stop 'assay_*.slice' 2>/dev/null
# What a set of Quadlets has placed: their paths were free before the run.
while read -r where path; do
    case $where in
        home) rm -rf "${HOME:?}/$path" && cd && rmdir -p "$(dirname "$path")" ;;
        system) root rm -rf "/$path" && cd / && root rmdir -p "$(dirname "$path")" ;;
    esac
done <"$run/placed" 2>/dev/null
# Podman's generator makes each of its services want this one.
grep -qx podman-user-wait-network-online "$run/absent" &&
    systemctl --user stop podman-user-wait-network-online.service
[ -d /run/systemd/system ] && systemctl --user daemon-reload
if command -v podman >/dev/null && [ -e "$run/data/containers" ]; then
    podman rm --all --force --time 0 >/dev/null
    # Its layers belong to other user ids.
    podman unshare sh -c 'umount "$1/overlay"; rm -rf "$1"' - "$run/data/containers/storage" 2>/dev/null
    if grep -qx "$runtime/libpod" "$run/absent"; then
        kill "$(cat "$runtime/libpod/tmp/pause.pid")"
    fi
fi 2>&1
# Files that Podman keeps for a container while its conmon runs, and now and then for longer.
find "$runtime/libpod/tmp/persist" -mindepth 1 -maxdepth 1 -newer "$run/absent" 2>/dev/null | while read -r kept; do
    pgrep -u "$(id -u)" -f "conmon.*${kept##*/}" >/dev/null || rm -rf "$kept"
done
# Removes what provisioning installed: packages first, with their dependencies.
if [ -e "$run/packages" ]; then
    new=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort |
        comm -13 "$run/packages" -)
    # The list has to be split into words, one for each package.
    # shellcheck disable=SC2086
    [ -z "$new" ] || root env DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 purge $new >/dev/null ||
        exit
fi
while read -r thing; do
    case $thing in
        linger) root loginctl disable-linger "$(id -un)" ;;
        link) root rm -f /usr/local/bin/crun-wasm ;;
    esac || exit
done <"$run/provisioned"
absent=$(cat "$run/absent")
rm -rf "$run" "${runtime:?}/assay-$1"
# Folders in the user's home are removed only if they are empty.
printf '%s\n' "$absent" | sort -r | while read -r thing; do
    case $thing in
        # conmon writes this file when a container runs out of memory.
        "$HOME"/oom) rm -f "$thing" ;;
        "$HOME"/*) rmdir "$thing" ;;
        # These are Podman's, which the user may be using by now, too.
        /*) pgrep -u "$(id -u)" -x conmon >/dev/null || rm -rf "$thing" ;;
    esac
done 2>/dev/null
left=$(ls -d "$run" "$runtime/assay-$1" 2>/dev/null)
[ -z "$left" ] || { echo "left: $left" && exit 1; }
