# Every address, port and place of the cluster, and nothing else. Sourced first.

# Places. The cache holds what was built and outlives `down`; the state is this one cluster.
cache="${KIPPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipper}/cluster"
bin="$cache/bin"
state="${KIPPER_CLUSTER_DIR:-$cache/state}"
logs="$state/logs" pids="$state/pids" pki="$state/pki" conf="$state/conf"
kubeconfig="$state/kubeconfig"
# A socket's path has room for 107 characters, and the ports below exist once per machine: sockets,
# the lock and what has to be put back live in one place, whoever starts the cluster.
run=/run/kipper-cluster
lock=/run/kipper-cluster.lock
containerd_socket="$run/containerd.sock"

# Addresses. Everything listens on the bridge or on loopback.
bridge=kipper0
bridge_mac=02:6b:69:70:00:01
bridge_ip=10.233.0.1
bridge_bits=22
pod_cidr=10.233.0.0/22
pod_first=10.233.0.10 pod_last=10.233.3.250
service_cidr=10.233.128.0/20
apiserver_service_ip=10.233.128.1
dns_service_ip=10.233.128.10
cluster_domain=cluster.local
node_name=kipper

# Ports, below the range that the kernel hands to clients.
etcd_port=12379 etcd_peer_port=12380
apiserver_port=16443
controller_manager_port=11257
scheduler_port=11259
kubelet_port=11250 kubelet_health_port=11248
kube_proxy_health_port=11256 kube_proxy_metrics_port=11249
coredns_health_port=11181
keda_operator_port=9666 keda_operator_metrics_port=11280 keda_operator_health_port=11281
keda_metrics_port=16444 keda_metrics_metrics_port=11282

# Versions of what is built here.
kubernetes_version=v1.36.3

# In the order in which they start; `down` goes backwards.
components=(etcd apiserver controller-manager scheduler containerd kubelet kube-proxy coredns
    keda-operator keda-metrics)

max_pods=400
