# shellcheck shell=bash
# A MariaDB, for guard.sh; it comes with init.sql, which runs at every start.

# One that starts removes all temporary tables where it has its own, those of others too.
# shellcheck disable=SC2154
export TMPDIR="$dir"

prepare() {
    # What a killed server has written is the kernel's, so 2 loses no commit; 0 would.
    cat - "$dir/lines.cnf" >"$dir/my.cnf" <<CONF
[mysqld]
datadir = $dir/data
socket = $dir/socket
pid-file = $dir/pid
bind-address = 127.0.0.1
port = $port
init-file = $dir/init.sql
ssl-ca = $dir/ca.pem
ssl-cert = $dir/server.pem
ssl-key = $dir/server.key
innodb-flush-log-at-trx-commit = 2
CONF
    mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db \
        --auth-root-authentication-method=normal >>"$dir/log" 2>&1
}

start() {
    launch mariadbd --defaults-file="$dir/my.cnf"
    await mariadb-admin --no-defaults --socket="$dir/socket" --user=root ping
}
