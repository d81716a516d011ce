# Becomes systemd-nspawn. The machine's root is mounted at /run/root, and its network is /run/netns/machine.
# Rootless Podman needs all of /proc and /sys, fuse and tun, the kernel's keyring, and a file system other than an overlay
# for its images.
set -- --quiet --register=no --keep-unit --settings=no --machine=assay --directory=/run/root --volatile=overlay \
    --tmpfs=/var/lib/containers --network-namespace-path=/run/netns/machine --resolv-conf=off --timezone=off \
    --link-journal=no --console=read-only --capability=all \
    --drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_BOOT,CAP_SYS_RAWIO '--system-call-filter=@keyring bpf' \
    --bind=/dev/fuse --bind=/dev/net/tun --bind-ro=/run/logind.conf:/etc/systemd/system/systemd-logind.service.d/assay.conf \
    --bind-ro=/run/keys.conf:/etc/systemd/system/assay-keys.service.d/proc.conf "$@" --boot
# With this protection, systemd 262 mounts another /proc for logind, without the machine's boot id: logind would then take
# the user's manager for a process of another host and refuse it a session.
printf '[Service]\nProtectControlGroups=no\n' >/run/logind.conf
# The units that do not start there: the network is there when systemd starts, the devices and the settings of the kernel
# are this host's, and there is no terminal.
for unit in systemd-networkd.socket systemd-networkd.service systemd-networkd-wait-online.service \
    systemd-networkd-varlink.socket systemd-networkd-varlink-metrics.socket systemd-networkd-resolve-hook.socket \
    systemd-resolved-varlink.socket systemd-resolved-monitor.socket systemd-udevd-varlink.socket \
    systemd-resolved.service systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service systemd-udev-settle.service systemd-sysctl.service systemd-modules-load.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-remount-fs.service console-getty.service \
    dev-hugepages.mount sys-fs-fuse-connections.mount; do
    set -- "$@" "systemd.mask=$unit"
done
# The kernel lets rootless Podman mount a /proc only beside one of which nothing is covered. systemd-nspawn covers files in the
# machine's, and leaves no other since version 253. It is not mounted by a unit of its own: systemd starts none of these for
# a second after the many mounts at the beginning. /etc/resolv.conf leads to a file of systemd-resolved, which does not run;
# networks of Podman need the file.
printf '[Service]\nExecStartPre=/usr/bin/%s\nExecStartPre=/usr/bin/%s\n' \
    'mount -t proc -o X-mount.mkdir proc /run/assay/proc' \
    'install -D --mode=644 /dev/null /run/systemd/resolve/stub-resolv.conf' >/run/keys.conf
exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 systemd-nspawn "$@"
