# The chart. Its images keep their tag, so pods that run are replaced when what it names has changed.

install_chart() {
    local images=""
    images="$(ctr images ls | awk '/\/kipper\/(interceptor|scaler-adapter|controller|console):/ { print $1, $3 }')"
    # Helm installs definitions, and never brings them up to date.
    apply "$here/../crds"
    # What MinIO brings with its notifications, and what the console seals sessions with.
    apply <<'EOF'
apiVersion: v1
kind: Namespace
metadata: { name: kipper-system }
---
apiVersion: v1
kind: Secret
metadata: { name: bucket-webhook, namespace: kipper-system }
stringData: { token: local-cluster }
---
apiVersion: v1
kind: Secret
metadata: { name: console-session, namespace: kipper-system }
stringData: { key: of-the-local-cluster-and-no-other }
EOF
    "$bin/helm" --kubeconfig "$kubeconfig" upgrade --install kipper "$here/../chart" \
        --namespace kipper-system --create-namespace --values "$here/values.yaml" --wait "$@"
    if [ -e "$state/installed" ] && [ "$(cat "$state/installed")" != "$images" ]; then
        kubectl -n kipper-system rollout restart deployment
        for name in kipper-controller kipper-scaler-adapter kipper-interceptor kipper-console; do
            kubectl -n kipper-system rollout status deployment "$name" --timeout 120s
        done
    fi
    printf '%s\n' "$images" >"$state/installed"
}
