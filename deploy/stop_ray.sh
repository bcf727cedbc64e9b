#!/bin/sh
# Stop Ray on the head before `ray up` starts it again, but not under a running search.
if pgrep --full --euid "$(id -u)" 'python.*/bin/tune-run' >/dev/null; then
    echo 'a search is running on this head: use `ray up --no-restart`, or wait until it ends' >&2
    exit 1
fi
ray stop
