# Runs a container, as often as is wanted, and prints each line that it prints as Podman logs it, with the time at which it
# came; then what it and Podman printed as errors, and how it ended.
#
#   NAME         the container's name
#   TIMES        how often
#   TOKEN        said again, and what no workload can know
#   ARGUMENT...  what `podman run` is told
name=$1 times=$2 token=$3
shift 3
echo "token $token"
read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"
# Limits are set below the control group that was lent to whoever runs this.
read -r own </proc/self/cgroup
lent=${own#0::}
lent=${lent%/*}
# As under systemd, a limit without its controller is not set: crun would start nothing.
controllers=
read -r controllers <"/sys/fs/cgroup$lent/cgroup.controllers"
for argument; do
    shift
    case "$argument $controllers " in
    --memory=*' memory '* | --cpus=*' cpu '*) ;;
    --memory=* | --cpus=*) continue ;;
    esac
    set -- "$@" "$argument"
done
[ -w "/sys/fs/cgroup$lent/cgroup.procs" ] && set -- --cgroup-parent="${lent:-/}" "$@"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# clock: the same moment by the clock since boot and by the calendar, by which conmon stamps lines.
clock() {
    read -r up _ </proc/uptime
    echo "clock $up $(date +%s.%N)"
}
# What the container writes on either stream comes through its log. What comes through Podman has Podman's errors in it.
while [ "$times" -gt 0 ]; do
    : >"$folder/log"
    clock
    podman --cgroup-manager=cgroupfs run --rm --pull=never --log-driver=k8s-file --log-opt="path=$folder/log" \
        --name "$name" "$@" >/dev/null 2>"$folder/errors"
    status=$?
    clock
    sed 's/^/line /' "$folder/log"
    sed 's/^/error /' "$folder/errors"
    echo "ended $up $status"
    times=$((times - 1))
done
