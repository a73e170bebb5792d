#!/usr/bin/env bash
# A PostgreSQL in directory $1 on port $2 until standard input ends; says "ready". The directory
# comes with admin.pw and the certificate, and goes with the server.
set -euo pipefail

dir="$1" port="$2"
for bin in /usr/lib/postgresql/*/bin; do PATH="$bin:$PATH"; done

stop() {
    pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap stop EXIT

chmod 600 "$dir/server.key"
initdb -D "$dir/data" -U admin --pwfile "$dir/admin.pw" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 -N >/dev/null
cat >>"$dir/data/postgresql.conf" <<EOF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$dir'
fsync = off
ssl = on
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
EOF
# Without its own standard input and output the server would keep those of this script open.
pg_ctl -D "$dir/data" -w -t 120 -l "$dir/log" start >/dev/null </dev/null || { cat "$dir/log" >&2; exit 1; }
echo ready
cat >/dev/null
