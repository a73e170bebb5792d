# etcd, apiserver, controller-manager and scheduler.

start_etcd() {
    # Nothing survives a crash of the machine, and nothing has to: what fsync costs, tests would pay.
    launch etcd etcd --name kipper --data-dir "$state/etcd" --unsafe-no-fsync --logger=zap --log-level=warn \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-cluster "kipper=http://127.0.0.1:$etcd_peer_port"
    wait_for etcd 30 healthy probe "http://127.0.0.1:$etcd_port/health"
}

start_apiserver() {
    write_audit_policy
    launch apiserver "$bin/kube-apiserver" --v=1 \
        --etcd-servers="http://127.0.0.1:$etcd_port" \
        --bind-address="$bridge_ip" --advertise-address="$bridge_ip" --secure-port="$apiserver_port" \
        --service-cluster-ip-range="$service_cidr" --allow-privileged \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
        --client-ca-file="$pki/ca.crt" \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --service-account-issuer="https://kubernetes.default.svc.$cluster_domain" \
        --service-account-key-file="$pki/service-account.pub" \
        --service-account-signing-key-file="$pki/service-account.key" \
        --kubelet-certificate-authority="$pki/ca.crt" \
        --kubelet-client-certificate="$pki/apiserver-kubelet.crt" \
        --kubelet-client-key="$pki/apiserver-kubelet.key" \
        --kubelet-preferred-address-types=InternalIP \
        --enable-aggregator-routing=true \
        --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- \
        --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key" \
        --audit-policy-file="$conf/audit-policy.yaml" --audit-log-path="$logs/audit.log" \
        --audit-log-maxsize=64 --audit-log-maxbackup=2
    wait_for apiserver 60 ready kubectl get --raw /readyz
}

# Every request once, when it is done: the load tests count calls in logs/audit.log.
write_audit_policy() {
    write "$conf/audit-policy.yaml" <<EOF
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
  - level: Metadata
EOF
}

# Its own QPS is raised because one process does here what a real control plane spreads out.
start_controller_manager() {
    local own="$pki/controller-manager.kubeconfig"
    launch controller-manager "$bin/kube-controller-manager" --v=1 --leader-elect=false \
        --bind-address=127.0.0.1 --secure-port="$controller_manager_port" \
        --kubeconfig="$own" --authentication-kubeconfig="$own" --authorization-kubeconfig="$own" \
        --use-service-account-credentials --service-account-private-key-file="$pki/service-account.key" \
        --root-ca-file="$pki/ca.crt" \
        --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
        --allocate-node-cidrs=false --kube-api-qps=100 --kube-api-burst=200
    wait_for controller-manager 30 healthy probe "https://127.0.0.1:$controller_manager_port/healthz"
}

start_scheduler() {
    local own="$pki/scheduler.kubeconfig"
    launch scheduler "$bin/kube-scheduler" --v=1 --leader-elect=false \
        --bind-address=127.0.0.1 --secure-port="$scheduler_port" \
        --kubeconfig="$own" --authentication-kubeconfig="$own" --authorization-kubeconfig="$own"
    wait_for scheduler 30 healthy probe "https://127.0.0.1:$scheduler_port/healthz"
}
