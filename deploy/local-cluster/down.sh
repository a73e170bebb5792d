# Takes everything down and looks whether anything is left. Works on whatever an `up` that failed, or
# a machine that crashed, left behind.

down() {
    local name i
    for ((i = ${#components[@]} - 1; i >= 0; i--)); do
        name="${components[i]}"
        [ "$name" = containerd ] || [ "$name" = apiserver ] || [ "$name" = etcd ] || halt "$name"
    done
    kill_pods
    for name in containerd apiserver etcd; do halt "$name" KILL; done
    unmount
    down_network
    down_cgroup
    [ ${#shim_sockets[@]} -eq 0 ] || rm -f "${shim_sockets[@]}"
    rmdir /run/containerd/s /run/containerd 2>/dev/null || true
    forget_kubelet_folders
    leftovers
    rm -rf "$run" "${state:?}"/{etcd,containerd,kubelet,cni,conf,pki,pids,images} "$kubeconfig" "$logs/pods"
}

# Every process of a pod is in our cgroup; a shim names our containerd's socket. By pid, nothing else.
kill_pods() {
    local deadline=$((SECONDS + stop_seconds)) address
    # A shim that is killed leaves its socket, in a place that no setting moves.
    for address in "$run"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
        [ ! -e "$address" ] || shim_sockets+=("$(sed 's#^unix://##' "$address")")
    done
    while [ -n "$(pod_pids)" ]; do
        # shellcheck disable=SC2046
        kill -KILL $(pod_pids) 2>/dev/null || true
        [ $SECONDS -lt $deadline ] || break
        sleep 0.05
    done
}

shim_sockets=()
pod_pids() {
    local root
    for root in $(cgroup_roots); do
        [ ! -d "$root/$cgroup" ] || find "$root/$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null
    done | sort -u
    shims
}

shims() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        case "$(tr '\0' ' ' 2>/dev/null <"$file")" in
            *containerd-shim-runc-v2*"-address $containerd_socket "*)
                file="${file%/cmdline}"
                printf '%s\n' "${file#/proc/}"
                ;;
        esac
    done
}

# What is mounted below our folders, the innermost first.
mounts() {
    local point
    while read -r _ point _; do
        case "$point" in "$state"/* | "$run"/*) printf '%b\n' "$point" ;; esac
    done </proc/mounts | sort -r
}

unmount() {
    local point
    mounts | while read -r point; do umount "$point" 2>/dev/null || umount -l "$point"; done
}

down_network() {
    local name table
    for table in "inet kipper-cluster" "ip kube-proxy" "ip6 kube-proxy"; do
        # shellcheck disable=SC2086
        [ ! -e "$run/state" ] || nft delete table $table 2>/dev/null || true
    done
    # The pods' ends are gone with their namespaces; this finds those whose namespace lived on.
    for name in $(pod_links); do ip link delete "$name" 2>/dev/null || true; done
    ip link delete "$bridge" 2>/dev/null || true
    for name in "$state"/containerd/io.containerd.grpc.v1.cri/sandboxes/*/; do
        rm -f /var/lib/cni/results/*-"$(basename "$name")"-*
    done
    rmdir /var/lib/cni/results /var/lib/cni 2>/dev/null || true
    [ ! -e "$run/sysctl" ] || sysctl -q -p "$run/sysctl"
}

pod_links() { ip -o link show master "$bridge" 2>/dev/null | sed 's/^[0-9]*: \([^@:]*\).*/\1/'; }

down_cgroup() {
    local root
    for root in $(cgroup_roots); do
        [ ! -d "$root/$cgroup" ] || find "$root/$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
}

# kubelet has two places that no setting moves. They are removed where it was ours that made them.
kubelet_folders=(/var/lib/kubelet /var/log/containers)

remember_kubelet_folders() {
    local folder
    [ -e "$run/folders" ] || for folder in "${kubelet_folders[@]}"; do
        [ -e "$folder" ] || printf '%s\n' "$folder"
    done >"$run/folders"
}

forget_kubelet_folders() {
    local folder
    [ ! -e "$run/folders" ] || while read -r folder; do rm -rf "$folder"; done <"$run/folders"
}

leftovers() {
    local left=() root
    [ -z "$(pod_pids)" ] || left+=("processes $(pod_pids | tr '\n' ' ')")
    [ -z "$(mounts)" ] || left+=("mounts $(mounts | tr '\n' ' ')")
    ip link show "$bridge" >/dev/null 2>&1 && left+=("the interface $bridge")
    nft list table inet kipper-cluster >/dev/null 2>&1 && left+=("the nftables table kipper-cluster")
    nft list table ip kube-proxy >/dev/null 2>&1 && left+=("the nftables table kube-proxy")
    for root in $(cgroup_roots); do
        [ ! -d "$root/$cgroup" ] || left+=("the cgroup $root/$cgroup")
    done
    [ ${#left[@]} -eq 0 ] || {
        printf 'cluster: left behind: %s\n' "${left[@]}" >&2
        exit 1
    }
}
