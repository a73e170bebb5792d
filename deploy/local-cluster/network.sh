# The bridge between host and pods, the CNI configuration, kube-proxy and CoreDNS.

# Settings of the machine that the cluster changes (some of them kubelet does): kept at the first
# `up`, put back by `down`.
changed_sysctls=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables vm.overcommit_memory
    vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
    kernel.keys.root_maxbytes)

up_network() {
    local name
    [ -e "$run/sysctl" ] || for name in "${changed_sysctls[@]}"; do
        sysctl -e "$name"
    done >"$run/sysctl"
    sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
    # The address of its own keeps the bridge from taking over each new pod's lowest one.
    ip link show "$bridge" >/dev/null 2>&1 ||
        ip link add "$bridge" address "$bridge_mac" type bridge
    ip addr replace "$bridge_ip/$bridge_bits" dev "$bridge"
    ip link set "$bridge" up
    # The host's own requests to a ClusterIP carry the bridge's address, which pods can answer.
    ip route replace "$service_cidr" dev "$bridge" src "$bridge_ip"
    fence
    write_cni
    write_resolv_conf
}

# Pods reach this machine and each other; nothing of theirs leaves it, nothing from outside gets in.
fence() {
    nft -f - <<EOF
table inet kipper-cluster
delete table inet kipper-cluster
table inet kipper-cluster {
    chain forward {
        type filter hook forward priority filter
        iifname $bridge oifname != $bridge reject
        oifname $bridge iifname != $bridge drop
    }
}
EOF
}

write_cni() {
    mkdir -p "$conf/cni"
    write "$conf/cni/10-kipper.conflist" <<EOF
{
  "cniVersion": "0.4.0",
  "name": "kipper-cluster",
  "plugins": [{
    "type": "bridge", "bridge": "$bridge", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "$state/cni",
      "ranges": [[{"subnet": "$pod_cidr", "rangeStart": "$pod_first", "rangeEnd": "$pod_last", "gateway": "$bridge_ip"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
EOF
}

# What a pod in the keda namespace would have: for the KEDA processes, and for pods that take the
# node's.
write_resolv_conf() {
    write "$conf/resolv.conf" <<EOF
nameserver $bridge_ip
search keda.svc.$cluster_domain svc.$cluster_domain $cluster_domain
options ndots:5
EOF
    write "$conf/node-resolv.conf" <<<"nameserver $bridge_ip"
}

# with_cluster_dns <command...>: sees the cluster's names. In a mount namespace of its own, so that
# the machine's /etc/resolv.conf stays as it is.
with_cluster_dns() {
    unshare --mount bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$conf/resolv.conf" "$@"
}

start_kube_proxy() {
    write "$conf/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
mode: nftables
hostnameOverride: $node_name
bindAddress: $bridge_ip
clusterCIDR: $pod_cidr
healthzBindAddress: 127.0.0.1:$kube_proxy_health_port
metricsBindAddress: 127.0.0.1:$kube_proxy_metrics_port
nodePortAddresses: ["$bridge_ip/32"]
# The machine's connection tracking limits are not the cluster's to change.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
    launch kube-proxy "$bin/kube-proxy" --config "$conf/kube-proxy.yaml" --v=1
    wait_for kube-proxy 30 healthy probe "http://127.0.0.1:$kube_proxy_health_port/livez"
}

start_coredns() {
    write "$conf/Corefile" <<EOF
$cluster_domain:53 in-addr.arpa:53 {
    bind $bridge_ip
    errors
    ready 127.0.0.1:$coredns_health_port
    kubernetes $cluster_domain in-addr.arpa {
        kubeconfig $pki/coredns.kubeconfig
        ttl 5
    }
    loadbalance
}
# No name outside the cluster exists, and that is said at once.
.:53 {
    bind $bridge_ip
    template IN ANY . {
        rcode NXDOMAIN
    }
}
EOF
    dns_objects | apply
    launch coredns "$bin/coredns" -conf "$conf/Corefile"
    wait_for coredns 30 ready probe "http://127.0.0.1:$coredns_health_port/ready"
    wait_for coredns 10 answering with_cluster_dns getent ahostsv4 "kubernetes.default.svc.$cluster_domain"
}

# CoreDNS runs beside the cluster: its Service has no selector, the slice is written by hand.
dns_objects() {
    cat <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
  - {apiGroups: [""], resources: [services, namespaces], verbs: [list, watch]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects:
  - {kind: ServiceAccount, name: coredns, namespace: kube-system}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $dns_service_ip
  ports:
    - {name: dns, port: 53, protocol: UDP}
    - {name: dns-tcp, port: 53, protocol: TCP}
---
$(host_endpoints kube-dns kube-system dns/53/UDP dns-tcp/53/TCP)
EOF
}

# host_endpoints <service> <namespace> <name/port/protocol...>: a slice that leads to the host.
host_endpoints() {
    local service=$1 namespace=$2 port
    shift 2
    cat <<EOF
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: $service-host
  namespace: $namespace
  labels: {kubernetes.io/service-name: $service, endpointslice.kubernetes.io/managed-by: kipper-cluster}
addressType: IPv4
endpoints:
  - {addresses: [$bridge_ip], conditions: {ready: true}}
ports:
EOF
    for port in "$@"; do
        IFS=/ read -r name number protocol <<<"$port"
        printf '  - {name: "%s", port: %s, protocol: %s}\n' "$name" "$number" "$protocol"
    done
}
