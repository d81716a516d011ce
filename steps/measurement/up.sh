# Starts a unit with all that is deployed beside it, waits until it is ready, and asks it. Comes before lines that ask
# ("ask NUMBER QUESTION…") and "finish".
#
#   SCOPE   --user or --system
#   UNIT    without its ending; it wants all other units of its set
#   LIMIT   seconds that the start may take
#   TOKEN   said again, so that what another run printed is never taken for this one's
scope=$1 unit=$2 limit=$3
echo "token $4"
read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ctl() { systemctl "$scope" "$@"; }
now() { read -r up rest </proc/uptime; }
# since TIME: the seconds since then.
since() { now && awk -v one="$1" -v other="$up" 'BEGIN { printf "%.2f\n", other - one }'; }
# before TIME SECONDS: whether it is earlier than so long after.
before() { now && awk -v one="$1" -v more="$2" -v now="$up" 'BEGIN { exit !(now < one + more) }'; }
# oneline KEY: standard input as one line.
oneline() {
    printf '%s ' "$1"
    head -c 65536 | sed 's/\\/\\\\/g; s/\r/\\r/g; s/$/\\n/' | tr -d '\n'
    echo
}
container() { podman ps --quiet --filter "label=PODMAN_SYSTEMD_UNIT=$unit.service" | head -n 1; }
# first: the container's first process.
first() { podman inspect --format '{{.State.Pid}}' "$(container)" 2>/dev/null; }
state() { ctl show "$unit" --property=ActiveState --value; }

ctl reset-failed "$unit" 2>/dev/null
echo "since $(date +%s)"
now
begin=$up
echo "begin $begin"
echo "look $begin"
( (
    timeout "$limit" systemctl "$scope" start "$unit" 2>"$work/error"
    echo $? >"$work/status"
) &)
looks=0
until [ -s "$work/status" ]; do
    sleep 0.1
    looks=$(((looks + 1) % 10))
    [ "$looks" -gt 0 ] || { now && echo "look $up"; }
done
took=$(since "$begin")
read -r status <"$work/status"
echo "start-status $status"
[ -s "$work/error" ] && echo "start-error $(head -n 1 "$work/error")"
active=$(state)
container=$(container)
healthy=none
if [ "$active" = active ] && [ -n "$container" ] &&
    [ "$(podman inspect --format '{{if .Config.Healthcheck}}yes{{end}}' "$container")" = yes ]; then
    healthy=no
    while before "$begin" "$limit"; do
        podman healthcheck run "$container" >/dev/null 2>&1 && healthy=yes && break
        now && echo "look $up"
        sleep 0.5
    done
    took=$(since "$begin")
fi
ctl show "$unit" --property=LoadState,ActiveState,SubState,Result,InvocationID,NRestarts \
    --property=InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic |
    while IFS='=' read -r key value; do echo "show.$key $value"; done
if [ "$scope" = --system ] && [ "$active" != active ]; then
    # What Podman says is more than what others say about it.
    journalctl --quiet --output=cat "_SYSTEMD_UNIT=$unit.service" + "UNIT=$unit.service" | awk '
        /^Error: / { said = $0; exit }
        /Failed/ && said == "" { said = $0 }
        END { if (said != "") print "start-error", said }'
fi
now
echo "over $up"
echo "end $up"
echo "ready $active $healthy $took"
# How long a question that is not answered yet is asked again.
patience=10
[ "$active" = active ] || patience=0
now
asked_from=$up

# until_answered COMMAND…: a client's answer, asked for again while there is none.
until_answered() {
    while :; do
        "$@" >"$work/answer" 2>&1
        grep -q '^\(net.connect refused\|http.status none\)' "$work/answer" || break
        before "$asked_from" "$patience" || break
        sleep 0.5
    done
    cat "$work/answer"
}
client() {
    if command -v perl >/dev/null; then perl -e "$client" "$@"; else echo 'unasked the machine has no perl'; fi
}
has_container() {
    container=$(container)
    [ -n "$container" ] && return
    echo "unasked Podman: no container of the unit $unit.service"
    return 1
}
# again CONTAINER-PROCESS SECONDS: waits until the unit is active with another first process.
again() {
    from=$up
    while before "$from" "$2"; do
        new=$(first)
        [ "${new:-0}" != 0 ] && [ "$new" != "$1" ] && [ "$(state)" = active ] && return 0
        sleep 0.1
    done
    return 1
}

ask_connect() { until_answered client connect "$1"; }
ask_get() { until_answered client get "$1"; }
ask_exec() {
    while :; do
        container=$(container)
        podman exec "${container:-none-of-the-unit}" "$@" >"$work/out" 2>"$work/err"
        code=$?
        [ "$code" = 0 ] && break
        before "$asked_from" "$patience" || break
        sleep 0.5
    done
    echo "exec.status $code"
    oneline exec.output <"$work/out"
    oneline exec.error <"$work/err"
}
# processes: those of the container.
processes() {
    group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(first)/cgroup")
    cat "$group/cgroup.procs" "$group"/*/cgroup.procs 2>/dev/null
}
ask_processes() {
    has_container || return
    processes | while read -r process; do
        awk -v process="$process" '
            $1 == "Name:" { name = $2 }
            $1 == "Uid:" { uid = $3 }
            $1 == "CapPrm:" { permitted = $2 }
            $1 == "CapEff:" { effective = $2 }
            END { if (uid != "") print "process", process, uid, permitted, effective, name }' "/proc/$process/status"
    done
}
ask_kept() {
    [ -n "$1" ] || { echo 'unasked the Quadlet has no volume with a name' && return; }
    [ "$active" = active ] || { echo 'unasked its unit was never active' && return; }
    has_container || return
    echo "$unit" >"$work/marker"
    podman cp "$work/marker" "$container:$1/.assay-marker" 2>"$work/err" ||
        { echo "unasked Podman: $(head -n 1 "$work/err")" && return; }
    old=$(first)
    ctl restart "$unit" 2>"$work/err" || { echo "unasked $(head -n 1 "$work/err")" && return; }
    now
    again "$old" 30 || { echo 'unasked the unit is not active 30 s after its restart' && return; }
    if podman cp "$(container):$1/.assay-marker" "$work/found" 2>"$work/err"; then
        echo 'volume.kept there'
    else
        echo "volume.kept gone: $(head -n 1 "$work/err")"
    fi
}
ask_back() {
    [ "$active" = active ] || { echo "restart.never $1 its unit was never active" && return; }
    has_container || return
    old=$(first)
    now
    killed=$up
    podman kill --signal KILL "$container" >/dev/null 2>"$work/err" ||
        { echo "unasked Podman: $(head -n 1 "$work/err")" && return; }
    if again "$old" "$1"; then
        echo "restart.time $(since "$killed")"
    else
        echo "restart.never $(since "$killed") the unit is \"$(state)\""
    fi
}
ask_stops() {
    # It may have been stopped for another bound.
    [ "$active" = active ] && ctl start "$unit"
    [ "$(state)" = active ] || { echo 'unasked the unit is not active' && return; }
    now
    asked=$up
    timeout "$1" systemctl "$scope" stop "$unit"
    echo "stop.time $(since "$asked")"
    echo "stop.result $(ctl show "$unit" --property=Result --value)"
}
ask_load() {
    group=/sys/fs/cgroup$(ctl show "$unit" --property=ControlGroup --value)
    [ -r "$group/memory.current" ] || { echo 'unlimited no memory controller' && return; }
    client load "$1" "$2" 10 >"$work/load" &
    load=$!
    most=0
    while kill -0 "$load" 2>/dev/null; do
        read -r current <"$group/memory.current" && [ "$current" -gt "$most" ] && most=$current
        sleep 0.1
    done
    echo "memory.load $most"
    cat "$work/load"
}
# The proportional share of each process, which needs no memory controller, and what of it belongs to no file.
ask_memory() {
    # After its first answer it has read all it needs; without one, that takes a while.
    if [ -n "${1-}" ]; then until_answered client get "$1" >/dev/null && sleep 0.2; else sleep 1; fi
    has_container || return
    processes | while read -r process; do
        read -r name <"/proc/$process/comm" && awk -v process="$process" -v name="$name" '
            $1 == "Pss:" { all = $2 }
            $1 == "Anonymous:" { own = $2 }
            END { print "memory", process, all == "" ? "-" : all, own == "" ? "-" : own, name }' \
            "/proc/$process/smaps_rollup"
    done
}
ask_rate() { client rate "$1" 1; }
kill_unit() {
    ctl kill --signal=KILL "$unit" 2>/dev/null
    ctl stop "$unit" 2>/dev/null
}
# ask NUMBER KIND…: one question, and what the machine answers.
ask() {
    echo "question $1"
    kind=$2
    shift 2
    "ask_$kind" "$@"
}
finish() {
    now
    echo "finished $up"
}
