# Prepares a system container, in a mount namespace of its own: what is mounted here, the network namespace and both ends
# of the cable vanish with the last process in them. GROUP is the control group, MEMORY its limit in bytes, DISK the machine's
# root, which is never written to, KEYS the archive of its keys, OURS and THEIRS the addresses of the two ends of CABLE.
# run.sh starts it.
set -eu
group=$1 memory=$2 disk=$3 keys=$4 cable=$5 ours=$6 theirs=$7
echo 0 >"$group/cgroup.procs"
if [ -e "$group/memory.max" ]; then
    echo "$memory" >"$group/memory.max"
    [ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
fi
# systemd-nspawn keeps notes below /run, and makes folders below /tmp.
mount -t tmpfs -o mode=755 nspawn /run
mkdir -p /run/root /run/netns /run/systemd
cp "$keys" /run/keys
mount -o loop,ro "$disk" /run/root
mount -t tmpfs nspawn /tmp
: >/run/netns/machine
unshare --net=/run/netns/machine true
# networkd does not manage the machine's end, because there is no udev for it: both ends get their addresses here.
ip link add "$cable" type veth peer name host0 netns machine
ip -n machine addr add "$theirs/30" dev host0
ip -n machine link set host0 up
ip -n machine route add default via "$ours"
ip link set "$cable" up
ip addr add "$ours/30" dev "$cable"
set -- --hostname=assay --tmpfs=/home/assay:mode=0700,uid=1000,gid=1000 \
    --bind-ro=/run/keys:/dev/disk/by-id/virtio-assay-keys
