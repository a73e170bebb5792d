# shellcheck shell=bash
# A MinIO with one drive, for guard.sh: with TLS if that is set, with a queue directory for its
# webhook if KEEPS_EVENTS is. All other settings are MINIO_ variables.

prepare() {
    mkdir -p "$dir/data" "$dir/certs" "$dir/queue"
    if [ -n "${TLS:-}" ]; then
        cp "$dir/server.pem" "$dir/certs/public.crt"
        cp "$dir/server.key" "$dir/certs/private.key"
    fi
    if [ -n "${KEEPS_EVENTS:-}" ]; then
        export MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_KIPPER="$dir/queue"
    fi
}

start() {
    launch minio server --quiet --certs-dir "$dir/certs" --address "127.0.0.1:$port" "$dir/data"
    await curl --fail --silent --noproxy '*' --max-time 5 --cacert "$dir/ca.pem" \
        "http${TLS:+s}://127.0.0.1:$port/minio/health/ready"
}
