# shellcheck shell=bash
# A PgBouncer before the PostgreSQL on POSTGRES_PORT, for guard.sh; it comes with userlist.txt.

prepare() {
    cat - "$dir/lines.ini" >"$dir/pgbouncer.ini" <<CONF
[databases]
* = host=127.0.0.1 port=$POSTGRES_PORT
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
pool_mode = transaction
auth_type = scram-sha-256
auth_file = $dir/userlist.txt
auth_user = admin
admin_users = admin
client_tls_sslmode = allow
client_tls_cert_file = $dir/server.pem
client_tls_key_file = $dir/server.key
CONF
}

start() {
    launch pgbouncer "$dir/pgbouncer.ini"
    await pg_isready -h 127.0.0.1 -p "$port"
}
