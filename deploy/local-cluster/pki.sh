# Certificates and kubeconfigs. Written once per state directory; a test cluster's keys are worth
# nothing, but every component proves who it is with its own, as in a cluster that matters.

pki_days=3650

make_pki() {
    [ -e "$pki/complete" ] && return
    rm -rf "$pki"
    mkdir -p "$pki"
    chmod 700 "$pki"
    authority ca
    authority front-proxy-ca
    openssl genrsa -out "$pki/service-account.key" 2048 2>/dev/null
    openssl rsa -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null
    certificate ca apiserver /CN=kube-apiserver "$(names \
        kubernetes kubernetes.default kubernetes.default.svc "kubernetes.default.svc.$cluster_domain" \
        localhost),IP:127.0.0.1,IP:$bridge_ip,IP:$apiserver_service_ip"
    certificate ca apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
    certificate front-proxy-ca front-proxy /CN=front-proxy
    certificate ca kubelet "/O=system:nodes/CN=system:node:$node_name" \
        "$(names "$node_name"),IP:$bridge_ip"
    certificate ca keda "/O=system:serviceaccounts/O=system:serviceaccounts:keda/CN=system:serviceaccount:keda:keda-operator" \
        "$(names keda-operator.keda.svc keda-metrics-apiserver.keda.svc),IP:$bridge_ip"
    identities
    touch "$pki/complete"
}

# Who the components are to the apiserver.
identities() {
    local user
    for user in admin/O=system:masters/CN=admin \
        controller-manager/CN=system:kube-controller-manager \
        scheduler/CN=system:kube-scheduler \
        kube-proxy/CN=system:kube-proxy \
        coredns/O=system:serviceaccounts/CN=system:serviceaccount:kube-system:coredns; do
        certificate ca "${user%%/*}" "/${user#*/}"
        write_kubeconfig "${user%%/*}" "$pki/${user%%/*}.kubeconfig"
    done
    write_kubeconfig kubelet "$pki/kubelet.kubeconfig"
    write_kubeconfig keda "$pki/keda.kubeconfig"
    write_kubeconfig admin "$kubeconfig"
}

names() {
    local name joined=""
    for name in "$@"; do joined="$joined,DNS:$name"; done
    printf '%s' "${joined#,}"
}

ec_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"; }

authority() {
    ec_key "$1"
    openssl req -x509 -new -key "$pki/$1.key" -days "$pki_days" -subj "/CN=kipper-$1" \
        -addext keyUsage=critical,keyCertSign,cRLSign -out "$pki/$1.crt"
}

# certificate <authority> <file> <subject> [subjectAltName]
certificate() {
    local extensions="keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth"
    [ -z "${4:-}" ] || extensions="$extensions
subjectAltName=$4"
    ec_key "$2"
    openssl req -new -key "$pki/$2.key" -subj "$3" |
        openssl x509 -req -CA "$pki/$1.crt" -CAkey "$pki/$1.key" -days "$pki_days" \
            -set_serial "0x$(openssl rand -hex 8)" -extfile <(printf '%s\n' "$extensions") \
            -out "$pki/$2.crt" 2>/dev/null
}

# write_kubeconfig <certificate> <file>
write_kubeconfig() {
    cat >"$2" <<EOF
apiVersion: v1
kind: Config
current-context: kipper
clusters:
  - name: kipper
    cluster:
      server: https://$bridge_ip:$apiserver_port
      certificate-authority-data: $(base64 -w0 <"$pki/ca.crt")
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 <"$pki/$1.crt")
      client-key-data: $(base64 -w0 <"$pki/$1.key")
contexts:
  - name: kipper
    context: {cluster: kipper, user: $1}
EOF
    chmod 600 "$2"
}
