#!/bin/sh
# Holds units of a pool from one step of a CI job to a later one.
#
#   units.sh take FILE OPTIONS...   takes units as "resourcectl run OPTIONS" does, and writes into FILE what RESOURCED_LOCKS is
#   units.sh give FILE              gives them back
#
# Between the two, resourcectl runs in the background and renews the lease. If the machine dies, the lease ends.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: units.sh take|give FILE ..." >&2
    exit 64
fi
command=$1 file=$2
shift 2

case $command in
take)
    rm -f "$file" "$file.end" "$file.status"
    (
        status=0
        setsid resourcectl run "$@" -- sh "$0" hold "$file" >"$file.log" 2>&1 </dev/null || status=$?
        echo "$status" >"$file.status.new"
        mv "$file.status.new" "$file.status"
    ) >/dev/null 2>&1 </dev/null &
    until [ -e "$file" ] || [ -e "$file.status" ]; do sleep 0.2; done
    if [ ! -e "$file" ]; then
        cat "$file.log" >&2
        exit "$(cat "$file.status")"
    fi
    ;;
hold)
    printf '%s\n' "$RESOURCED_LOCKS" >"$file.new"
    mv "$file.new" "$file"
    until [ -e "$file.end" ]; do sleep 0.2; done
    ;;
give)
    [ -e "$file" ] || exit 0
    touch "$file.end"
    until [ -e "$file.status" ]; do sleep 0.2; done
    status=$(cat "$file.status")
    cat "$file.log" >&2
    rm -f "$file" "$file.end" "$file.status" "$file.log"
    # If the lease ended before, the job has failed.
    exit "$status"
    ;;
*)
    exec "$0"
    ;;
esac
