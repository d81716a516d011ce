# LOOKS looks of a trial at the folder CGROUP, at the pace of a trial. Comes after the look itself.
cgroup=$1 looks=$2
now
echo "begin $up"
while now && [ "$looks" -gt 0 ]; do
    look
    looks=$((looks - 1))
    sleep 1
done
echo "over $up"
doze
sleep 1
weigh
