# Leaves a machine of somebody else's as it was before a run: its units, its images, its folder. What is not there any more
# is gone. Says what could not be removed.
#
#   RUN  its id
run=$HOME/.assay-$1
runtime=$XDG_RUNTIME_DIR
[ -d "$run" ] || exit 0
export CONTAINERS_STORAGE_CONF="$run/storage.conf" XDG_DATA_HOME="$run/data"
while read -r unit; do
    quadlet=$HOME/.config/containers/systemd/$unit.container
    drop_in=$HOME/.config/systemd/user/$unit.service.d
    # Both names were free when the run came.
    [ -e "$quadlet" ] || [ -e "$drop_in" ] || continue
    systemctl --user stop "$unit.service"
    rm -rf "$quadlet" "$drop_in"
    rm -f "$runtime/$unit.stops" "$runtime/$unit.started"
    systemctl --user reset-failed "$unit.service"
done <"$run/units" 2>/dev/null
systemctl --user stop 'assay_*.slice' 2>/dev/null
systemctl --user daemon-reload
if command -v podman >/dev/null && [ -e "$run/data/containers" ]; then
    podman rm --all --force --time 0 >/dev/null
    # Its layers belong to other user ids.
    podman unshare sh -c 'umount "$1/overlay"; rm -rf "$1"' - "$run/data/containers/storage" 2>/dev/null
    if grep -qx "$runtime/libpod" "$run/absent" && read -r pause <"$runtime/libpod/tmp/pause.pid"; then
        kill "$pause"
    fi
fi 2>&1
absent=$(cat "$run/absent")
rm -rf "$run" "${runtime:?}/assay-$1"
# Folders of the user's home go only where nobody has put anything else into them since.
printf '%s\n' "$absent" | sort -r | while read -r thing; do
    case $thing in
        "$HOME"/*) rmdir "$thing" ;;
        # Podman's, which the user may have begun to use too.
        ?*) pgrep -u "$(id -u)" -x conmon >/dev/null || rm -rf "$thing" ;;
    esac
done 2>/dev/null
left=$(ls -d "$run" "$runtime/assay-$1" 2>/dev/null)
[ -z "$left" ] || { echo "left: $left" && exit 1; }
