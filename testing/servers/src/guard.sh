#!/usr/bin/env bash
# Runs one server in directory $1 on port $2 until standard input ends, then stops it and removes
# the directory; $3 is a second port for servers that speak TLS on another one. What is particular
# to the server comes from server.sh beside this file: prepare (once), start, and where a SIGKILL
# would not do, stop. Answers "ok <pid>" once the server runs and after each order on standard
# input; whatever fails ends all of it, with the end of the log on standard error.
set -euo pipefail

dir="$1" port="$2" tls_port="$3"
pid=""
# How many seconds a server may take to answer. It is not slow, but the machine may be busy.
patience=120

# Nobody reads standard error before the end, so what would fill it goes to the log.
exec 3>&2 2>>"$dir/log"
# Whoever asked may be gone before the answer: that must end in the trap, too.
trap : PIPE

# Starts the server with nothing open of this shell's, in a process group of its own.
launch() {
    setsid "$@" >>"$dir/log" 2>&1 </dev/null 3>&- &
    pid=$!
}

# Asks until the answer is yes, or until the server has ended or patience has.
await() {
    local end=$((SECONDS + patience))
    until "$@" >/dev/null 2>&1 </dev/null 3>&-; do
        if ! alive || [ "$SECONDS" -ge "$end" ]; then
            echo "no answer to: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

# A process that has ended but has not been waited for yet still takes signals, so kill -0 would not
# tell: the kernel's word for it does (proc(5), state Z).
alive() {
    local stat=""
    [ -n "$pid" ] && read -r stat <"/proc/$pid/stat" && [[ "${stat##*) }" != Z* ]]
}

# The group has the children that the server may have forked, and none but those.
stop() {
    [ -n "$pid" ] || return 0
    kill -KILL -- "-$pid" "$pid" || true
    wait "$pid" || true
    pid=""
}

leave() {
    local status=$?
    set +e
    stop
    [ "$status" -eq 0 ] || tail -n 30 "$dir/log" >&3
    rm -rf "$dir"
}
trap leave EXIT

# shellcheck source=/dev/null
. "$dir/server.sh"
# Standard input is for orders: no program may take one.
prepare </dev/null
start
echo "ok $pid"
while read -r order; do
    case "$order" in
        start)
            if ! alive; then
                stop
                start
            fi
            ;;
        stop) stop ;;
        *) echo "no such order: $order" >&2 && exit 1 ;;
    esac
    echo "ok ${pid:-0}"
done
