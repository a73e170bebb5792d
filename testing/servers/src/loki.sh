# shellcheck shell=bash
# A Loki of one process, for guard.sh; loki.yaml beside it is its configuration.

prepare() {
    mkdir -p "$dir/data"
    # Loki 1.6 does not read its environment.
    sed -i "s|DIRECTORY|$dir|; s|GRPC_PORT|$tls_port|; s|PORT|$port|" "$dir/loki.yaml"
}

start() {
    launch loki -config.file="$dir/loki.yaml"
    await curl --fail --silent --noproxy '*' --max-time 5 "http://127.0.0.1:$port/ready"
}
