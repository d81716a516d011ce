# One look at a unit's control group, and what looking costs. Comes before the script that looks, which sets "cgroup",
# its folder, and calls "now" before each look.
#
# What measures must not weigh on what is measured: a look forks nothing, reads no file further than to what it wants,
# and is written at once. Between two looks there is one sleep.
payload= limited=

now() { read -r up rest </proc/uptime; }

# field NAME FILE: the number after a name, as "value".
field() {
    while read -r key value rest; do
        [ "$key" = "$1" ] && return 0
    done <"$2"
    return 1
}

# number KEY FILE: a file's only number.
number() {
    read -r value <"$2" && [ "$value" != max ] && seen="$seen
$1 $value"
}

# memory KEY FOLDER: what a control group has, and of which kind. The kinds stand at the top of their file.
memory() {
    number "$1.peak" "$2/memory.peak"
    missing=3
    while [ "$missing" -gt 0 ] && read -r key value; do
        case $key in
        anon | file | kernel)
            seen="$seen
$1.$key $value"
            missing=$((missing - 1))
            ;;
        esac
    done <"$2/memory.stat"
}

look() {
    seen="look $up"
    if [ -d "$cgroup" ]; then
        number unit.current "$cgroup/memory.current"
        memory unit "$cgroup"
        field usage_usec "$cgroup/cpu.stat" && seen="$seen
unit.cpu.usage_usec $value"
        [ -d "$cgroup/runtime" ] && memory runtime "$cgroup/runtime"
        [ -d "$payload" ] || for payload in "$cgroup"/libpod-payload-*; do :; done
        if [ -d "$payload" ]; then
            number payload.current "$payload/memory.current"
            memory payload "$payload"
            field usage_usec "$payload/cpu.stat" && seen="$seen
payload.cpu.usage_usec $value"
            # Limits as the kernel enforces them; they do not change: once is enough.
            [ -n "$limited" ] || {
                limited=yes
                number unit.max "$cgroup/memory.max"
                read -r quota period <"$cgroup/cpu.max" && [ "$quota" != max ] && seen="$seen
unit.quota_usec $quota
unit.period_usec $period"
            }
        fi
        field MemAvailable: /proc/meminfo && seen="$seen
available $((value * 1024))"
    fi
    echo "$seen"
}

# The CPU time of this shell and of what it has waited for, in microseconds, as "used"; empty where the kernel does not
# say. Its own is exact; that of the others comes in ticks of 10 ms, once of user and once of system time.
spent() {
    used=
    read -r itself rest </proc/$$/schedstat &&
        read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ user system rest </proc/$$/stat &&
        used=$((itself / 1000 + (user + system) * 10000))
}

# Sleeps as between two looks, for "weigh", which is to be called a little later.
doze() {
    sleep 30 &
    nap=$!
}

# The memory that would come free if this shell and its sleep ended: the proportional share of each. Ends that sleep.
weigh() {
    while read -r name <"/proc/$nap/comm" && [ "$name" != sleep ]; do sleep 1; done
    field Pss: /proc/$$/smaps_rollup && itself=$value && field Pss: "/proc/$nap/smaps_rollup" &&
        echo "sampler.memory $(((itself + value) * 1024))"
    kill "$nap"
    wait "$nap" 2>/dev/null || true
}
