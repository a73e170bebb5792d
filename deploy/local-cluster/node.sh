# The node: containerd, kubelet, and the cgroup below which every pod lives.

cgroup=kipper-cluster
# The controllers' folders: one per controller with cgroup v1, a single one with v2.
cgroup_roots() {
    local root
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        printf '%s\n' /sys/fs/cgroup
    else
        for root in /sys/fs/cgroup/*/; do
            [ -h "${root%/}" ] || [ ! -e "$root/cgroup.procs" ] || printf '%s\n' "${root%/}"
        done
    fi
}

cgroup_trial() {
    local root
    root="$(cgroup_roots | head -n 1)"
    [ -n "$root" ] && mkdir "$root/$cgroup-trial" 2>/dev/null && rmdir "$root/$cgroup-trial"
}

up_cgroup() {
    local root file
    for root in $(cgroup_roots); do
        [ -d "$root/$cgroup" ] || mkdir "$root/$cgroup"
        # A cpuset group of version 1 takes no process before it knows where that may run.
        for file in cpuset.cpus cpuset.mems; do
            [ ! -e "$root/$file" ] || cat "$root/$file" >"$root/$cgroup/$file"
        done
        [ ! -e "$root/cgroup.controllers" ] ||
            sed 's/\</+/g' "$root/cgroup.controllers" >"$root/cgroup.subtree_control"
    done
}

start_containerd() {
    write_containerd_config
    launch containerd containerd --config "$conf/containerd.toml"
    wait_for containerd 30 answering containerd_answers
    import_pause
}

ctr() { command ctr --address "$containerd_socket" --namespace k8s.io "$@"; }
containerd_answers() { ctr plugins ls 2>/dev/null | grep -q 'io.containerd.grpc.v1 *cri .* ok'; }

# Network namespaces are mounted below the state folder: what lies there is ours to remove.
write_containerd_config() {
    write "$conf/containerd.toml" <<EOF
version = 2
root = "$state/containerd"
state = "$run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$containerd_socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$pause_image"
netns_mounts_under_state_dir = true
tolerate_missing_hugetlb_controller = true
# Without CAP_SYS_RESOURCE, as in a virtual machine's shell, no score can be lowered.
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$conf/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "$run/runc"
EOF
}

start_kubelet() {
    write_kubelet_config
    launch kubelet "$bin/kubelet" --v=1 --config "$conf/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
        --hostname-override "$node_name" --node-ip "$bridge_ip" --root-dir "$state/kubelet"
    wait_for kubelet 30 healthy probe "http://127.0.0.1:$kubelet_health_port/healthz"
    wait_for kubelet 60 "Ready as a node" node_ready
}

node_ready() {
    [ "$(kubectl get node "$node_name" \
        -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

# Images come from `cluster images` only, so they are never collected; a disk that is nearly full is
# the machine's own affair until there is next to nothing left.
write_kubelet_config() {
    write "$conf/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $bridge_ip
port: $kubelet_port
healthzBindAddress: 127.0.0.1
healthzPort: $kubelet_health_port
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$containerd_socket
podLogsDir: $logs/pods
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
clusterDomain: $cluster_domain
clusterDNS: [$dns_service_ip]
resolvConf: $conf/node-resolv.conf
maxPods: $max_pods
# kube-proxy works with nftables; kubelet's own iptables chains would only be left behind.
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
EOF
}
