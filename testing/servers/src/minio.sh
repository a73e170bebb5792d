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
    await makes_bucket
    s3 DELETE >/dev/null || true
}

# Ready is what MinIO calls itself before it knows its users and its buckets: until then it refuses
# writes with 503. One that it takes, or says it took before, tells.
makes_bucket() {
    local status
    status="$(s3 PUT)" && [[ "$status" = 200 || "$status" = 409 ]]
}

# Makes or removes a bucket that nobody else has a use for, and prints the answer's status.
s3() {
    curl --silent --noproxy '*' --max-time 5 --cacert "$dir/ca.pem" --request "$1" --output /dev/null \
        --write-out '%{http_code}' --aws-sigv4 "aws:amz:${MINIO_SITE_REGION:-us-east-1}:s3" \
        --user "$MINIO_ROOT_USER:$MINIO_ROOT_PASSWORD" \
        "http${TLS:+s}://127.0.0.1:$port/kipper-starts"
}
