# Lists everything on the machine's own file systems except what changes by itself: logs, the clocks of systemd's
# timers, the seed of the next boot; and locks, which listing itself changes. Then lists unit files, and the user's
# images.
set -e
# The first list takes long on a busy, emulated CPU; after 25 s, systemctl would give up.
export SYSTEMD_BUS_TIMEOUT=200s
find / -xdev \( -path /var/log -o -path /tmp -o -path /run -o -path /var/tmp -o -path /var/lib/systemd \
    -o -path /var/cache/ldconfig -o -path /var/lib/private \) -prune \
    -o -not -type d -not -name '*.lock' -printf 'file %p\t%y %s %m %U %T@\n' 2>/dev/null || :
# Each in a command of its own: a pipe would hide that one failed, and every unit would then seem to be new.
units=$(systemctl list-unit-files --no-legend --plain)
own=$(systemctl --user list-unit-files --no-legend --plain)
printf '%s\n%s\n' "$units" "$own" | awk '$1 !~ /\.(scope|device|mount)$/ { print "unit " $1 "\t" $2 }'
podman images --noheading --no-trunc --format 'image {{.Repository}}:{{.Tag}}	{{.ID}}'
