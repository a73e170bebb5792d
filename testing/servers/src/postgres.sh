# shellcheck shell=bash
# A PostgreSQL, for guard.sh: a new one with admin.pw, or with PRIMARY_PORT a standby of that one.

prepare() {
    chmod 600 "$dir/server.key"
    if [ -n "${PRIMARY_PORT:-}" ]; then
        # Takes over the primary's configuration, whose lines the ones below override.
        PGPASSWORD="$(cat "$dir/admin.pw")" pg_basebackup -h 127.0.0.1 -p "$PRIMARY_PORT" -U admin \
            -D "$dir/data" -R -X stream -c fast --no-sync >>"$dir/log" 2>&1
    else
        initdb -D "$dir/data" -U admin --pwfile "$dir/admin.pw" -A scram-sha-256 -E UTF8 \
            --locale=C.UTF-8 -N >>"$dir/log" 2>&1
    fi
    cat - "$dir/lines.conf" >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$dir'
fsync = off
ssl = on
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
CONF
}

start() {
    # Without its own standard input and output the server would keep those of this shell open.
    pg_ctl -D "$dir/data" -w -t "$patience" -l "$dir/log" start >/dev/null </dev/null 3>&-
    pid="$(head -n 1 "$dir/data/postmaster.pid")"
}

# A killed postmaster would leave its children; in immediate mode they end at once and without a
# shutdown, too.
stop() {
    if alive; then
        pg_ctl -D "$dir/data" -m immediate -w -t "$patience" stop >/dev/null
    fi
    pid=""
}
