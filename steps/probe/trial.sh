# Starts a user unit, watches its cgroup until it has ended, and prints all that was seen as "key value" lines.
#
#   UNIT   without its ending; its cgroup is a child of SLICE, which outlives it
#   HOLD   0: until the unit has ended by itself, once; else: that many seconds after its workload came up, then kill it
#   STOPS  0: as HOLD says; else: until it has ended so often, or has stayed down, then kill it
#   LIMIT  seconds after which to give up
#
# The loop uses the shell's builtins and one sleep: what measures must not weigh on what is measured.
unit=$1 slice=$2 hold=$3 wanted=$4 limit=$5
manager=$(systemctl --user show --property=ControlGroup --value)
tree=/sys/fs/cgroup$manager/$slice
cgroup=$tree/$unit.service
stops=$XDG_RUNTIME_DIR/$unit.stops
started=$XDG_RUNTIME_DIR/$unit.started
rm -f "$stops" "$started"

now() { read -r up rest </proc/uptime; }
number() { [ -r "$2" ] && read -r value <"$2" && [ "$value" != max ] && echo "$1 $value"; }
fields() {
    [ -r "$2" ] || return
    while read -r key value; do
        case $key in anon | file | kernel | usage_usec) echo "$1.$key $value" ;; esac
    done <"$2"
}
look() {
    echo "look $up"
    number unit.current "$cgroup/memory.current"
    number unit.peak "$cgroup/memory.peak"
    number unit.max "$cgroup/memory.max"
    fields unit "$cgroup/memory.stat"
    fields unit.cpu "$cgroup/cpu.stat"
    number runtime.current "$cgroup/runtime/memory.current"
    number runtime.peak "$cgroup/runtime/memory.peak"
    fields runtime "$cgroup/runtime/memory.stat"
    for payload in "$cgroup"/libpod-payload-*; do
        number payload.current "$payload/memory.current"
        number payload.peak "$payload/memory.peak"
        fields payload "$payload/memory.stat"
        fields payload.cpu "$payload/cpu.stat"
        [ -d "$payload" ] && up_since=${up_since:-${up%.*}}
    done
    while read -r key value rest; do
        [ "$key" = MemAvailable: ] && echo "available $((value * 1024))" && break
    done </proc/meminfo
}

systemctl --user reset-failed "$unit" 2>/dev/null
now
begin=${up%.*}
echo "begin $up"
(systemctl --user start "$unit"; echo $? >"$started") &
up_since= down=0
while now; do
    down=$((down + 1))
    [ -d "$cgroup" ] && look && down=0
    second=${up%.*}
    if [ "$wanted" -gt 0 ]; then
        count=0
        [ -r "$stops" ] && while read -r line; do count=$((count + 1)); done <"$stops"
        [ "$count" -ge "$wanted" ] && break
        [ -s "$started" ] && [ "$down" -ge 5 ] && break
    elif [ "$hold" -gt 0 ]; then
        [ -n "$up_since" ] && [ $((second - up_since)) -ge "$hold" ] && break
    elif [ -s "$stops" ] || { [ -s "$started" ] && [ "$down" -ge 3 ]; }; then
        break
    fi
    if [ $((second - begin)) -ge "$limit" ]; then
        echo "gave-up $up"
        break
    fi
    sleep 1
done
now
echo "over $up"
echo "show.user $(id -u)"
systemctl --user show "$unit" --property=LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts \
    --property=InvocationID,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic |
    while IFS='=' read -r key value; do echo "show.$key $value"; done
if [ -d "$cgroup" ]; then
    systemctl --user kill --signal=KILL "$unit"
    systemctl --user stop "$unit"
fi
wait
number start-status "$started"
number slice.peak "$tree/memory.peak"
number slice.swap.peak "$tree/memory.swap.peak"
[ -r "$tree/memory.events" ] && while read -r key value; do echo "slice.events.$key $value"; done <"$tree/memory.events"
[ -r "$tree/cpu.stat" ] && while read -r key value; do echo "slice.cpu.$key $value"; done <"$tree/cpu.stat"
[ -r "$stops" ] && while read -r line; do echo "stop $line"; done <"$stops"
rm -f "$stops" "$started"
systemctl --user stop "$slice"
echo "end"
