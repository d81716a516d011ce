# Starts a user unit, watches its cgroup until it has ended, and prints all that was seen as "key value" lines.
#
#   UNIT   without its ending; its cgroup is a child of SLICE, which outlives it
#   HOLD   0: until the unit has ended by itself, once; else: at most that many hundredths of a second after it became
#          active (a oneshot: after its workload came up), then kill it
#   STOPS  0: as HOLD says; else: until it has ended so often, or has stayed down, then kill it
#   LIMIT  seconds after which to give up
#   TOKEN  said again, so that what another trial printed is never taken for this one's
unit=$1 slice=$2 hold=$3 wanted=$4 limit=$5
pause=1
[ "$hold" -eq 0 ] || [ "$hold" -ge 100 ] || pause=0.5
echo "token $6"
read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"
manager=$(systemctl --user show --property=ControlGroup --value)
# Without a controller, systemd shows a limit and the kernel does not enforce it.
controllers=
read -r controllers <"/sys/fs/cgroup$manager/cgroup.controllers"
echo "controllers ${controllers:-none}"
tree=/sys/fs/cgroup$manager/$slice
cgroup=$tree/$unit.service
IFS=: read -r _ _ session </proc/$$/cgroup
session=/sys/fs/cgroup$session
stops=$XDG_RUNTIME_DIR/$unit.stops
started=$XDG_RUNTIME_DIR/$unit.started
rm -f "$stops" "$started"*

# tell KEY FILE: a file's only number. tell_all KEY FILE: each of its names and numbers.
tell() { [ -r "$2" ] && read -r value <"$2" && echo "$1 $value"; }
tell_all() { [ -r "$2" ] && while read -r key value; do echo "$1.$key $value"; done <"$2"; }
# ended: how often the unit has ended, as "count".
ended() {
    count=0
    [ -r "$stops" ] && while read -r line; do count=$((count + 1)); done <"$stops"
}

type=$(systemctl --user show "$unit" --property=Type --value)
systemctl --user reset-failed "$unit" 2>/dev/null
echo "since $(date +%s)"
now
begin=${up%.*}
echo "begin $up"
spent
before=$used session_before=
field usage_usec "$session/cpu.stat" && session_before=$value
# A child of nobody's: what it costs is the start's, not the watching's.
( (
    systemctl --user start "$unit" 2>"$started.error"
    echo $? >"$started"
) &)
up_since= down=0
while now; do
    look
    down=$((down + 1))
    # With RemainAfterExit=yes, a unit without processes stays active and keeps its control group.
    [ -d "$cgroup" ] && ! { field populated "$cgroup/cgroup.events" && [ "$value" = 0 ]; } && down=0
    moment=${up%.*}${up#*.}
    # The start job of a oneshot ends with its workload, that of any other unit when it is active.
    case $type in
    oneshot) [ -d "$payload" ] ;;
    *) [ -s "$started" ] ;;
    esac && up_since=${up_since:-$moment}
    if [ "$wanted" -gt 0 ]; then
        ended
        [ "$count" -ge "$wanted" ] && break
        [ -s "$started" ] && [ "$down" -ge 5 ] && break
    elif [ "$hold" -gt 0 ] && [ -n "$up_since" ] && [ $((moment - up_since)) -ge "$hold" ]; then
        break
    elif [ -s "$stops" ] || { [ -s "$started" ] && [ "$down" -ge 3 ]; }; then
        break
    fi
    if [ $((${up%.*} - begin)) -ge "$limit" ]; then
        echo "gave-up $up"
        break
    fi
    sleep "$pause"
    # What goes while it is read is missing from the look, and that is all there is to say of it.
done 2>/dev/null
now
echo "over $up"
spent
[ -n "$before" ] && [ -n "$used" ] && echo "sampler.usage_usec $((used - before))"
[ -n "$session_before" ] && field usage_usec "$session/cpu.stat" &&
    echo "session.usage_usec $((value - session_before))"
field anon "$session/memory.stat" && echo "session.anon $value"
doze
echo "show.user $(id -u)"
systemctl --user show "$unit" --property=LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts \
    --property=MemoryMax,CPUQuotaPerSecUSec,InvocationID,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic |
    while IFS='=' read -r key value; do echo "show.$key $value"; done
weigh
if [ -d "$cgroup" ] && field populated "$cgroup/cgroup.events" && [ "$value" = 1 ]; then
    # How it ends from now on is not its own doing.
    ended
    echo "killed-after $count"
    # The container goes first: Podman writes the last line that it has begun only then. It may not be started again.
    if [ -w "$payload/cgroup.kill" ] && field populated "$payload/cgroup.events" && [ "$value" = 1 ]; then
        echo 1 >"$payload/cgroup.kill"
        timeout 1 systemctl --user stop "$unit"
    fi
    systemctl --user kill --signal=KILL "$unit" 2>/dev/null
fi
# A unit that stays active without processes says how they ended only when it is stopped.
systemctl --user stop "$unit" 2>/dev/null
while ! [ -s "$started" ]; do sleep 0.1; done
tell start-status "$started"
tell start-error "$started.error"
tell slice.peak "$tree/memory.peak"
tell slice.swap.peak "$tree/memory.swap.peak"
tell_all slice.events "$tree/memory.events"
tell_all slice.cpu "$tree/cpu.stat"
if [ -r "$tree/io.stat" ]; then
    # What was written may still be on its way to the disk. A group that used no disk has no line.
    sync
    echo "slice.io.none rbytes=0 wbytes=0"
    tell_all slice.io "$tree/io.stat"
fi
[ -r "$stops" ] && sed 's/^/stop /' "$stops"
rm -f "$stops" "$started"*
systemctl --user stop "$slice"
now
echo "end $up"
