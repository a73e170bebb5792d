# KEDA's operator and metrics adapter as processes of the host, each with the rights and the view of
# the cluster's names that its pod would have.

keda_env=(KEDA_CLUSTER_OBJECT_NAMESPACE=keda POD_NAMESPACE=keda POD_NAME=keda-operator
    OPERATOR_NAME=keda-operator WATCH_NAMESPACE= "KUBERNETES_CLUSTER_DOMAIN=$cluster_domain")

start_keda_operator() {
    keda_prepare
    launch keda-operator unshare --mount bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' \
        "$conf/resolv.conf" env "${keda_env[@]}" "$bin/keda-operator" \
        --kubeconfig "$pki/keda.kubeconfig" --cert-dir "$conf/keda" --ca-dir "$conf/no-ca" \
        --metrics-bind-address "127.0.0.1:$keda_operator_metrics_port" \
        --health-probe-bind-address "127.0.0.1:$keda_operator_health_port" \
        --metrics-service-bind-address "$bridge_ip:$keda_operator_port" \
        --k8s-cluster-domain "$cluster_domain" --zap-log-level=info \
        --enable-apiservice-patching=false --enable-webhook-patching=false
    wait_for keda-operator 60 ready probe "http://127.0.0.1:$keda_operator_health_port/readyz"
    wait_for keda-operator 30 "serving metrics" listening "$bridge_ip" "$keda_operator_port"
}

listening() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

start_keda_metrics() {
    keda_prepare
    launch keda-metrics unshare --mount bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' \
        "$conf/resolv.conf" env "${keda_env[@]}" "$bin/keda-adapter" \
        --kubeconfig "$pki/keda.kubeconfig" --lister-kubeconfig "$pki/keda.kubeconfig" \
        --authentication-kubeconfig "$pki/keda.kubeconfig" --authorization-kubeconfig "$pki/keda.kubeconfig" \
        --bind-address "$bridge_ip" --secure-port "$keda_metrics_port" --port "$keda_metrics_metrics_port" \
        --cert-dir "$conf/keda" --client-ca-file "$pki/ca.crt" \
        --tls-cert-file "$conf/keda/tls.crt" --tls-private-key-file "$conf/keda/tls.key" \
        --metrics-service-address "$bridge_ip:$keda_operator_port" \
        --metrics-service-grpc-authority=keda-operator.keda.svc --zap-log-level=info
    wait_for keda-metrics 60 "Available as an APIService" metrics_available
}

# A question about an object that is not there: the adapter cannot know that without the operator.
metrics_available() {
    local path="/apis/external.metrics.k8s.io/v1beta1/namespaces/keda/none?labelSelector=scaledobject.keda.sh/name=none"
    [ "$(kubectl get apiservice v1beta1.external.metrics.k8s.io \
        -o 'jsonpath={.status.conditions[?(@.type=="Available")].status}')" = True ] &&
        [[ "$(kubectl get --raw "$path" 2>&1)" == *'"none" not found'* ]]
}

keda_prepare() {
    mkdir -p "$conf/keda" "$conf/no-ca"
    write "$conf/keda/ca.crt" <"$pki/ca.crt"
    write "$conf/keda/tls.crt" <"$pki/keda.crt"
    write "$conf/keda/tls.key" <"$pki/keda.key"
}

# KEDA's own manifests from its module; only its Deployments are replaced by the two processes.
apply_keda() {
    apply "$cache/keda-manifests"
    keda_objects | apply
    kubectl wait --for=condition=Established --timeout=30s crd scaledobjects.keda.sh \
        scaledjobs.keda.sh triggerauthentications.keda.sh clustertriggerauthentications.keda.sh >/dev/null
}

keda_objects() {
    cat <<EOF
apiVersion: v1
kind: Service
metadata: {name: keda-metrics-apiserver, namespace: keda}
spec:
  ports:
    - {name: https, port: 443, targetPort: $keda_metrics_port}
---
$(host_endpoints keda-metrics-apiserver keda "https/$keda_metrics_port/TCP")
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  service: {name: keda-metrics-apiserver, namespace: keda}
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  caBundle: $(base64 -w0 <"$pki/ca.crt")
EOF
}
