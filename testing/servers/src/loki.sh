# shellcheck shell=bash
# A Loki of one process, for guard.sh; loki.yaml beside it is its configuration.

prepare() {
    mkdir -p "$dir/data"
}

start() {
    DIRECTORY="$dir" PORT="$port" GRPC_PORT="$tls_port" \
        launch loki -config.file="$dir/loki.yaml" -config.expand-env=true
    await curl --fail --silent --noproxy '*' --max-time 5 "http://127.0.0.1:$port/ready"
}
