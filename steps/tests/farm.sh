# What tests of logins share: a user's keys, and a real OpenSSH server on loopback called farm.

# key NAME [PASSPHRASE]: makes a key of the user.
key() { mkdir -p .ssh; ssh-keygen -q -t ed25519 -N "${2:-}" -C test -f ".ssh/$1"; }

# serve 'LINES' KEY...: starts the server, which accepts these keys, with these lines in its configuration.
serve() {
    mkdir -p farm
    [ "$USER" != root ] || mkdir -p /run/sshd
    lines=$1; shift
    for name; do cat ".ssh/$name.pub"; done >farm/authorized
    for kind in ed25519 ecdsa rsa; do
        ssh-keygen -q -t $kind -N '' -C test -f farm/$kind
        lines="$lines
HostKey $PWD/farm/$kind"
    done
    port=$((10000 + $$ % 20000))
    until configure && start; do port=$((port + 1)); done
    echo $port >farm/port
}

# sshd uses the first value that it finds for an option.
configure() {
    echo "$lines
ListenAddress 127.0.0.1
Port $port
PidFile $PWD/farm/pid
AuthorizedKeysFile $PWD/farm/authorized
StrictModes no
PermitRootLogin yes
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100" >farm/config
}

# start: starts the server as it is configured; fails if its port is taken.
start() {
    rm -f farm/pid
    /usr/sbin/sshd -D -e -f farm/config </dev/null >/dev/null 2>>farm/log &
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s farm/pid ] || sleep 0.1; done
    [ -s farm/pid ]
}

# known KIND: makes the server's key of this kind known.
known() { echo "[127.0.0.1]:$(cat farm/port) $(cat "farm/$1.pub")" >>.ssh/known_hosts; }

# print_of FILE: the fingerprint of a key.
print_of() { ssh-keygen -lf "$1" | sed 's/[^ ]* \([^ ]*\).*/\1/'; }

# enter [USER [OPTION...]]: plans a run there, which logs in. What the machine lacks is left out.
enter() {
    user=${1:-$USER}; [ $# = 0 ] || shift
    assay run --plan --target "ssh://$user@127.0.0.1:$(cat farm/port)" "$@" >planned 2>errors
    grep -o 'scenarios would run' planned || cat errors
}
