# Runs a block of commands as if it was pasted into a terminal: each command as it stands, also after one that fails,
# without input. Then prints what did not work, and the folder that the block ended in.
#
#   TEXT    the block
#   FOLDER  where it begins
#   TOKEN   the line that ends what the block printed
#   WAIT    for how many seconds a log that a command follows must be silent until the command is interrupted
#   MOST    after how many seconds it is interrupted in any case
assay_text=$1 assay_token=$3 assay_wait=$4 assay_most=$5
cd "$2" || exit
assay_events=$(mktemp)
command_not_found_handle() {
    echo "lacks $1" >>"$assay_events"
    echo "bash: $1: command not found"
    return 127
}
# A reader presses Ctrl-C when nothing more is logged; then it ends with 0 if it has printed anything.
journalctl() {
    case " $* " in
    *' -f '* | *' --follow '*) ;;
    *)
        command journalctl "$@"
        return
        ;;
    esac
    local line log follower status=1
    exec {log}< <(exec journalctl "$@")
    follower=$!
    while [ "$SECONDS" -lt "$assay_most" ] && IFS= read -r -t "$assay_wait" -u "$log" line; do
        printf '%s\n' "$line"
        status=0
    done
    kill "$follower" 2>/dev/null
    exec {log}<&-
    return "$status"
}
assay_command=
while IFS= read -r assay_line; do
    assay_command+=$assay_line$'\n'
    # It goes on in the next line, or bash finds that a part of it is missing.
    case $assay_line in *\\) continue ;; esac
    [ -z "$(bash -n <<<"$assay_command" 2>&1)" ] || continue
    eval "$assay_command" </dev/null 2>&1
    assay_status=$?
    [ "$assay_status" = 0 ] || echo "failed $assay_status ${assay_command%%$'\n'*}" >>"$assay_events"
    assay_command=
done <<<"$assay_text"
[ -z "$assay_command" ] || echo "failed 2 ${assay_command%%$'\n'*}" >>"$assay_events"
printf '\n%s\n' "$assay_token"
cat "$assay_events"
rm -f "$assay_events"
echo "folder $PWD"
