# Checks that paths are free, or removes what was placed there.
#
#   TODO     check or remove
#   WHERE    home or system
#   PATH...  relative to the home or to /
todo=$1 where=$2
shift 2
if [ "$where" = home ]; then cd; else cd /; fi || exit
case $todo in
check)
    for path; do
        if [ -e "$path" ]; then
            echo "$PWD/$path is there already, and nothing is written over: remove it, or run on another machine" >&2
            exit 1
        fi
    done
    ;;
remove)
    for path; do
        if [ -d "$path" ]; then rmdir "$path"; else rm -f "$path"; fi 2>/dev/null
        rmdir -p "$(dirname "$path")" 2>/dev/null
    done
    :
    ;;
esac
