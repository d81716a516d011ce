# Prints in sections what a remote machine has of what a run needs. Changes nothing: the folder that shows that the home
# is writable is removed at once.
#
#   UNIT...  the names that a run would give to its units
say() {
    printf '== %s\n' "$1"
    shift
    "$@" || :
}
seen() { say "$@" 2>/dev/null; }
told() { say "$@" 2>&1; }

root() { if [ "$(id -u)" = 0 ]; then echo root; else sudo -n true && echo sudo; fi; }
init() { if [ -d /run/systemd/system ]; then echo systemd; else cat /proc/1/comm; fi; }
home() { folder=$(mktemp -d "$HOME/.assay-XXXXXX") && rmdir "$folder" && echo "writable $HOME"; }
room() { df -Pk "$HOME" | tail -n 1; }
link() { command -v crun-wasm || ls /usr/local/bin/crun-wasm; }
library() { PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libwasmedge\.so\.0' && echo there; }
generator() { find /usr/lib/systemd/user-generators /usr/local/lib/systemd/user-generators -name podman-user-generator; }
# Whether Podman sets no limit on processes.
unlimited() {
    for configuration in /etc/containers/containers.conf /etc/containers/containers.conf.d/*.conf \
        "$HOME"/.config/containers/containers.conf "$HOME"/.config/containers/containers.conf.d/*.conf; do
        sed -n 's/^ *pids_limit *= *//p' "$configuration"
    done | tail -n 1 | grep -qx '0\|-1' && echo yes
}
ids() {
    for file in /etc/subuid /etc/subgid; do
        grep -q -e "^$(id -un):" -e "^$(id -u):" "$file" || return
    done
    command -v newuidmap
}
# The first id above all that somebody has.
next_id() {
    next=100000
    while IFS=: read -r _ first count; do
        [ "$((first + count))" -gt "$next" ] && next=$((first + count))
    done <<EOF
$(cat /etc/subuid /etc/subgid)
EOF
    echo "$next"
}
lingers() { loginctl show-user "$(id -un)" --property=Linger --value || ls "/var/lib/systemd/linger/$(id -un)"; }
taken() {
    for unit; do
        find "$HOME/.config/containers/systemd" /etc/containers/systemd -name "$unit.container"
        find "$HOME/.config/systemd/user" -name "$unit.service*"
        [ "$(systemctl --user show --property=LoadState --value "$unit.service")" = not-found ] || echo "$unit.service"
    done
}

seen release cat /etc/os-release
seen user id -un
seen uid id -u
seen clock date +%s
seen root root
seen init init
seen container systemd-detect-virt --container
seen cgroup stat -f -c %T /sys/fs/cgroup
seen unified stat -f -c %T /sys/fs/cgroup/unified
seen controllers cat /sys/fs/cgroup/cgroup.controllers
seen unlimited unlimited
told manager systemctl --user is-system-running
seen runtime echo "$XDG_RUNTIME_DIR"
seen lingers lingers
told home home
seen free room
seen generator generator
seen library library
seen link link
seen ids ids
seen next-id next_id
[ -d /run/systemd/system ] && seen taken taken "$@"
seen left ls -d "$HOME"/.assay-*
