# Runs a container, as often as is wanted, and prints each line that it prints with the time at which it came, in seconds since
# boot; then how it ended, and what it and Podman had to say of that.
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
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
while [ "$times" -gt 0 ]; do
    {
        podman --cgroup-manager=cgroupfs run --rm --pull=never --name "$name" "$@" 2>"$errors"
        echo "$token $?"
    } | while IFS= read -r line; do
        read -r up _ </proc/uptime
        case $line in
            "$token "*) echo "ended $up ${line#"$token "}" ;;
            *) echo "line $up $line" ;;
        esac
    done
    sed 's/^/error /' "$errors"
    times=$((times - 1))
done
