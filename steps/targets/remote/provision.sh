# Installs what a remote machine lacks, and first lists it in the run's folder, so that leave.sh removes it again.
#
#   RUN                         the run's id
#   linger | link | PACKAGE...  what is missing
set -eu
run=$HOME/.assay-$1
shift
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
installed() { dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort; }
packages=
for thing; do
    case $thing in
        linger) echo linger >>"$run/provisioned" && root loginctl enable-linger "$(id -un)" ;;
        link) echo link >>"$run/provisioned" && root ln -s /usr/bin/crun /usr/local/bin/crun-wasm ;;
        *) packages="$packages $thing" ;;
    esac
done
[ -n "$packages" ] || exit 0
command -v apt-get >/dev/null || { echo "packages are brought by apt-get, which is not there: install$packages by hand" >&2 && exit 1; }
installed >"$run/packages"
apt() { root env DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 "$@" >&2; }
apt update
# The list has to be split into words, one for each package.
# shellcheck disable=SC2086
apt install --no-install-recommends $packages
