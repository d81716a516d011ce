#!/usr/bin/env bash
# For ci/test and .ci/run: what is done beside other steps.
#
# beside NAME COMMAND...: starts it, in a process group of its own, which can be ended as a whole.
# joined NAME: waits for it, prints what it printed, and returns its exit status.
#
# When the script ends, what still runs is ended with it, and the folder "logs" is removed.
declare -A running=()
logs=$(mktemp -d)
trap '((${#running[@]} == 0)) || kill -- "${running[@]/#/-}" 2>/dev/null || :; wait || :; rm -rf "$logs"' EXIT
beside() {
    set -m
    "${@:2}" &>"$logs/$1" &
    running[$1]=$!
    set +m
}
joined() {
    local status=0
    wait "${running[$1]}" || status=$?
    unset "running[$1]"
    cat "$logs/$1"
    return "$status"
}
