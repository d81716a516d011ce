# Runs a guest that looks for what is the host's: a folder with a file in it, a port of the loopback and a variable.
#
#   IMAGE  its image
#   GIVEN  which of them it is given: nothing, file, directory, socket or environment
set -eu
folder=$(mktemp -d) port=$(mktemp)
trap 'kill "$listener"; rm -rf "$folder" "$port"' EXIT
echo 'a file of the host' >"$folder/secret"
mkdir "$folder/empty"
perl -MIO::Socket::INET -e 'my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1") or die "no port: $@";
    open(my $file, ">", $ARGV[0]) or die; print $file $socket->sockport, "\n"; close $file; sleep 300' "$port" &
listener=$!
until [ -s "$port" ]; do
    kill -0 "$listener"
    sleep 0.1
done
read -r number <"$port"
export ASSAY_HOST='a variable of the host'
case $2 in
file) set -- "$1" "--volume=$folder/secret:$folder/secret" ;;
directory) set -- "$1" "--volume=$folder/empty:$folder" ;;
socket) set -- "$1" --network=host ;;
environment) set -- "$1" --env=ASSAY_HOST ;;
*) set -- "$1" ;;
esac
image=$1
shift
podman run --rm --pull=never "$@" "$image" "$folder" "$number"
