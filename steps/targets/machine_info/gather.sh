# Prints all that is read of a machine in sections, in one go: on an emulated CPU each command costs a second.
say() { printf '== %s\n' "$1"; shift; "$@" 2>/dev/null || :; }
say distribution sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release
# Testing and unstable have no version, only the name of the next one.
platform() { . /etc/os-release && printf '%s\n' "$ID" "${VERSION_ID:-}" "${VERSION_CODENAME:-}"; }
say platform platform
say boot cat /proc/sys/kernel/random/boot_id
say kernel uname -r
say machine uname -m
say cpus nproc
say memory grep MemTotal /proc/meminfo
# They make folders in the user's home and below /run even for that; here they make them elsewhere.
elsewhere=$(mktemp -d)
aside() { HOME=$elsewhere XDG_CONFIG_HOME=$elsewhere XDG_RUNTIME_DIR=$elsewhere "$@"; }
say podman aside podman --version
say crun aside crun --version
rm -rf "$elsewhere"
say wasmedge dpkg-query --show --showformat='${Version}\n' libwasmedge0
say systemd systemctl --version
say controllers cat "/sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/cgroup.controllers"
