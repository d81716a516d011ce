# Runs the command after the first parameter, a folder that it reports to, until the standard input closes: that happens
# when the process at its other end is over, however it ends.
folder=$1
shift
{
    "$@" </dev/null >/dev/null 2>"$folder/words"
    : >"$folder/over"
} &
cat >/dev/null
trap '' TERM
kill 0
rm -rf "$folder"
