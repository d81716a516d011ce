# Prints what a user unit has logged, an entry of JSON a line, with what shows whether journald dropped any of it.
#
#   SINCE   in Unix seconds
#   UNIT    without its ending
#   MOST    bytes that are printed of the unit's lines
#   MARK    the name of a unit that logs a line of each priority that a workload's lines have. journald limits the rate
#           of all units of a user together: while it drops lines of one priority, it drops the mark's, too
since=$1 unit=$2 most=$3 mark=$4
fields=MESSAGE,MESSAGE_ID,N_DROPPED,PRIORITY,SYSLOG_IDENTIFIER,CONTAINER_ID_FULL,CONTAINER_PARTIAL_MESSAGE
fields=$fields,_COMM,_TRANSPORT,_STREAM_ID,_LINE_BREAK,_SYSTEMD_USER_UNIT,_SYSTEMD_CGROUP
# --all: without it, fields of more than 4096 bytes are null.
entries() { journalctl --quiet --no-pager --output=json --all --output-fields="$fields" --since="@$since" "$@"; }
# The shell stays, so that journald can still see whose lines they are.
systemd-run --user --quiet --collect --unit="$mark" sh -c 'echo "<3>mark"; echo "<6>mark"; sleep 60'
tries=0
while [ "$(journalctl --user --quiet --output=cat --since="@$since" "_SYSTEMD_USER_UNIT=$mark.service" | grep -c .)" -lt 2 ] &&
    [ "$tries" -lt 10 ]; do
    tries=$((tries + 1))
    sleep 1
done
systemctl --user stop "$mark"
# The unit's lines, those of systemd about it, and those of its containers, which need not be in its control group.
set -- "_SYSTEMD_USER_UNIT=$unit.service" + "USER_UNIT=$unit.service"
for id in $(journalctl --user --quiet --output=cat --output-fields=PODMAN_ID --since="@$since" \
    "_SYSTEMD_USER_UNIT=$unit.service" PODMAN_EVENT=create); do
    set -- "$@" + "CONTAINER_ID_FULL=$id" + "_SYSTEMD_USER_UNIT=libpod-$id.scope"
done
{ entries --user "$@" || echo '-- journalctl failed --'; } | LC_ALL=C awk -v "most=$most" '
    { size += length + 1 }
    size > most { print "-- The rest of the log is not printed --"; exit }
    { print }'
entries --user "_SYSTEMD_USER_UNIT=$mark.service" || exit
# How many it dropped it says in the system's journal, when the user's units may log again.
set -- MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e "OBJECT_SYSTEMD_UNIT=user@$(id -u).service"
if [ "$(id -u)" = 0 ] || id -Gn | grep -Eqw 'adm|systemd-journal'; then
    entries "$@"
elif sudo -n true; then
    entries() { sudo -n journalctl --quiet --no-pager --output=json --output-fields="$fields" --since="@$since" "$@"; }
    entries "$@"
else
    echo '-- The system journal cannot be read --'
fi 2>/dev/null
