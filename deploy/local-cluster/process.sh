# Starting, watching and stopping one component by its own pid file. A pid file also holds the start
# time of its process, so that a number used again by somebody else is never signalled.

stop_seconds=20

say() { printf '%s\n' "$*"; }

die() {
    printf 'cluster: %s\n' "$*" >&2
    exit 1
}

# die_of <component> <what>: one clear line and the end of the component's log.
die_of() {
    printf 'cluster: %s %s; the end of %s:\n' "$1" "$2" "$logs/$1.log" >&2
    tail -n 15 "$logs/$1.log" >&2 || true
    exit 1
}

# The clock ticks after boot at which a process started; empty when there is none.
started_at() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 0
    stat="${stat##*) }"
    # The start time is the 22nd field; the third is the first after the name.
    # shellcheck disable=SC2086
    set -- $stat
    [ "$1" = Z ] || printf '%s' "${20}"
}

# The pid of a running component, or failure.
pid_of() {
    local pid since
    read -r pid since 2>/dev/null <"$pids/$1" || return 1
    [ -n "$since" ] && [ "$(started_at "$pid")" = "$since" ] && printf '%s' "$pid"
}

running() { pid_of "$1" >/dev/null; }

# launch <component> <command...>: in a session of its own, with a clean environment.
launch() {
    local name=$1 pid
    shift
    running "$name" && return
    setsid env -i PATH="$PATH" HOME="$state" "$@" >>"$logs/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(started_at "$pid")" >"$pids/$name"
}

# halt <component> [signal]: returns when the process is gone. What ignores SIGTERM gets SIGKILL.
halt() {
    local name=$1 signal=${2:-TERM} pid deadline=$((SECONDS + stop_seconds))
    if pid="$(pid_of "$name")"; then
        kill -"$signal" "$pid" 2>/dev/null || true
        while running "$name"; do
            [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.05
        done
    fi
    rm -f "$pids/$name"
}

# wait_for <component> <seconds> <what> <command...>: until the command succeeds.
wait_for() {
    local name=$1 seconds=$2 what=$3
    local deadline=$((SECONDS + seconds))
    shift 3
    until "$@" >/dev/null 2>&1; do
        running "$name" || die_of "$name" "ended while it was starting"
        [ $SECONDS -lt $deadline ] || die_of "$name" "is not $what after $seconds s"
        sleep 0.1
    done
}

kubectl() { "$bin/kubectl" --kubeconfig "$kubeconfig" "$@"; }

# Only objects that differ are written, so that a second `up` changes nothing.
apply() { kubectl apply --server-side --force-conflicts --field-manager kipper-cluster -f "${1:--}" >/dev/null; }

probe() { curl --silent --show-error --fail --insecure --max-time 3 --output /dev/null "$@"; }

# write <file>: from stdin, and only when it differs: some components end when their file is touched.
write() {
    local content
    content="$(cat)"
    [ "$(cat "$1" 2>/dev/null)" = "$content" ] || printf '%s\n' "$content" >"$1"
}
