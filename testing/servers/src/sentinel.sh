# shellcheck shell=bash
# A sentinel, alone with its vote, for the Redis on PRIMARY_PORT with one replica; for guard.sh.

prepare() {
    # Dead is who has not answered for two seconds: a busy machine must not look like a dead server.
    cat - "$dir/lines.conf" >"$dir/sentinel.conf" <<CONF
bind 127.0.0.1
port $port
dir $dir
sentinel monitor kipper 127.0.0.1 $PRIMARY_PORT 1
sentinel down-after-milliseconds kipper 2000
sentinel failover-timeout kipper 10000
CONF
}

sees_the_replica() {
    [[ "$(redis-cli -h 127.0.0.1 -p "$port" info sentinel)" == *status=ok,*slaves=1,* ]]
}

start() {
    launch redis-server "$dir/sentinel.conf" --sentinel
    await sees_the_replica
}
