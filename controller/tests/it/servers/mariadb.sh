#!/usr/bin/env bash
# A MariaDB in directory $1 on port $2 until standard input ends; says "ready". The directory comes
# with init.sql and the certificate, and goes with the server.
set -euo pipefail

dir="$1" port="$2"
PATH="$PATH:/usr/sbin"
pid=""

stop() {
    [ -z "$pid" ] || { kill -KILL "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap stop EXIT

mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db \
    --auth-root-authentication-method=normal >/dev/null 2>&1
mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/socket" --pid-file="$dir/pid" \
    --bind-address=127.0.0.1 --port="$port" --skip-log-bin --innodb-flush-log-at-trx-commit=0 \
    --ssl-cert="$dir/server.pem" --ssl-key="$dir/server.key" --ssl-ca="$dir/ca.pem" \
    --init-file="$dir/init.sql" >"$dir/log" 2>&1 </dev/null &
pid=$!
until mariadb-admin --no-defaults --socket="$dir/socket" --user=root ping >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
echo ready
cat >/dev/null
