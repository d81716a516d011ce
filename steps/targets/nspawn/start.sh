# Starts a system container in a control group of its own, as root, and ends it when the standard input closes: that
# happens when the process at its other end is over, however it ends.
inside=$1 end=$2 group=$3
shift 2
set -- sh -c "$inside" nspawn "$@"
if [ -d /run/systemd/system ]; then
    # The host's control groups are systemd's. With Delegate, the container gets every controller that systemd has.
    set -- systemd-run --scope --quiet --collect --slice="$(basename "$(dirname "$group")")" \
        --unit="$(basename "$group")" --property=Delegate=yes --property=TasksMax=infinity "$@"
else
    mkdir "$group" || exit
fi
exec 3<&0
{
    cat >/dev/null
    sh -c "$end" nspawn "$group"
} <&3 &
unshare --mount --propagation private "$@" 3<&- </dev/null &
wait $!
status=$?
sh -c "$end" nspawn "$group"
exit $status
