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
# A user's own journal has only what processes of this user wrote. A container's other users are users of the machine, too,
# and with LogDriver=passthrough write to journals of their own.
me=$(id -u) journal='journalctl --user'
if [ "$me" = 0 ] || id -Gn | grep -Eqw 'adm|systemd-journal'; then
    journal=journalctl
elif sudo -n true 2>/dev/null; then
    journal='sudo -n journalctl'
else
    echo '-- The system journal cannot be read --'
fi
# --all: without it, fields of more than 4096 bytes are null.
entries() { $journal --quiet --no-pager --output=json --all --output-fields="$fields" --since="@$since" "$@"; }
# values FIELD MATCH...: one field of the user's own entries.
values() { $journal --quiet --output=cat --output-fields="$1" --since="@$since" "$2" "_SYSTEMD_OWNER_UID=$me" $3; }
# The shell stays, so that journald can still see whose lines they are.
systemd-run --user --quiet --collect --unit="$mark" sh -c 'echo "<3>mark"; echo "<6>mark"; sleep 60'
tries=0
while [ "$(values MESSAGE "_SYSTEMD_USER_UNIT=$mark.service" | grep -c .)" -lt 2 ] && [ "$tries" -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
systemctl --user stop "$mark"
# The unit's lines, those of systemd about it, and those of its containers, which need not be in its control group.
set -- "_SYSTEMD_USER_UNIT=$unit.service" "_SYSTEMD_OWNER_UID=$me" + "USER_UNIT=$unit.service" "_SYSTEMD_OWNER_UID=$me"
for id in $(values PODMAN_ID "_SYSTEMD_USER_UNIT=$unit.service" PODMAN_EVENT=create); do
    set -- "$@" + "CONTAINER_ID_FULL=$id" + "_SYSTEMD_USER_UNIT=libpod-$id.scope"
done
{ entries "$@" || echo '-- journalctl failed --'; } | LC_ALL=C awk -v "most=$most" '
    { size += length + 1 }
    size > most { print "-- The rest of the log is not printed --"; exit }
    { print }'
entries "_SYSTEMD_USER_UNIT=$mark.service" || exit
# How many lines it dropped it says in the system's journal, when the user's units may log again.
entries MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e "OBJECT_SYSTEMD_UNIT=user@$me.service"
