# shellcheck shell=bash
# A Redis, for guard.sh: with PRIMARY_PORT a replica of that one, with TLS on a second port too. It
# asks for PASSWORD, unless that is empty.

prepare() {
    # Every write is the kernel's before it is answered, so a killed server has lost none. A replica
    # is fed at once: the usual delay waits for more replicas, and there are none.
    cat - "$dir/lines.conf" >"$dir/redis.conf" <<CONF
bind 127.0.0.1
port $port
dir $dir
save ""
appendonly yes
repl-diskless-sync yes
repl-diskless-sync-delay 0
CONF
    if [ -n "${TLS:-}" ]; then
        cat >>"$dir/redis.conf" <<CONF
tls-port $tls_port
tls-cert-file $dir/server.pem
tls-key-file $dir/server.key
tls-ca-cert-file $dir/ca.pem
tls-auth-clients no
CONF
    fi
    [ -z "${PRIMARY_PORT:-}" ] || echo "replicaof 127.0.0.1 $PRIMARY_PORT" >>"$dir/redis.conf"
}

# One command of the administrator; a server that still loads its data answers with an error.
ask() {
    REDISCLI_AUTH="$PASSWORD" redis-cli -h 127.0.0.1 -p "$port" "$@"
}

answers() {
    [ "$(ask ping)" = PONG ]
}

follows() {
    [[ "$(ask info replication)" == *master_link_status:up* ]]
}

start() {
    launch redis-server "$dir/redis.conf"
    await answers
    # Once only: later a sentinel may have given it another role.
    [ -z "${PRIMARY_PORT:-}" ] || await follows
    PRIMARY_PORT=""
}
