# Can this machine run the cluster? Tried, not guessed: in namespaces that end with the trial.

cannot() {
    say "no local cluster here: $*"
    exit 3
}

needed=(etcd containerd ctr containerd-shim-runc-v2 runc ip nft unshare setsid flock openssl curl
    python3)

check() {
    local program
    [ "$(uname -s)" = Linux ] || cannot "it needs Linux"
    [ "$(id -u)" -eq 0 ] || cannot "it needs root"
    for program in "${needed[@]}"; do
        command -v "$program" >/dev/null || cannot "$program is missing; .ci/setup cluster installs it"
    done
    [ -x /usr/lib/cni/bridge ] || cannot "the CNI plugins are missing; .ci/setup cluster installs them"
    [ -d /proc/sys/net/bridge ] || modprobe br_netfilter 2>/dev/null ||
        cannot "the kernel has no br_netfilter"
    check_kernel
    [ -e "$run/state" ] || check_free
}

# What a node does to the kernel, once: bridge and veth, nftables, overlay mounts, cgroups.
check_kernel() {
    local failed
    failed="$(unshare --mount --net bash -c '
        set -e
        ip link add kip0 type bridge 2>/dev/null || { echo "network bridges"; exit; }
        ip link add kip1 type veth peer name kip2 2>/dev/null || { echo "veth pairs"; exit; }
        nft add table ip kipper-check 2>/dev/null || { echo "nftables"; exit; }
        nft add chain ip kipper-check c "{ type nat hook prerouting priority 0; }" 2>/dev/null ||
            { echo "nftables NAT"; exit; }
        mount -t tmpfs none /mnt && mkdir /mnt/{lower,upper,work,merged}
        mount -t overlay none /mnt/merged \
            -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work 2>/dev/null ||
            { echo "overlay mounts"; exit; }' 2>&1)" || failed="namespaces (${failed:-unshare failed})"
    [ -z "$failed" ] || cannot "the kernel refuses $failed"
    cgroup_trial || cannot "no cgroup can be made below /sys/fs/cgroup"
}

# What the cluster would share with another one, or take away from the machine.
check_free() {
    ip link show "$bridge" >/dev/null 2>&1 && cannot "the interface $bridge exists already"
    nft list table ip kube-proxy >/dev/null 2>&1 && cannot "another Kubernetes runs on this machine"
    local route
    route="$(ip -4 route show | python3 -c '
import ipaddress, sys
ours = [ipaddress.ip_network(a) for a in sys.argv[1:]]
for line in sys.stdin:
    words = line.split()
    first = words[1] if words[0] in ("unreachable", "blackhole", "prohibit") else words[0]
    if first != "default" and any(n.overlaps(ipaddress.ip_network(first)) for n in ours):
        print(first)
        break' "$pod_cidr" "$service_cidr")"
    [ -z "$route" ] || cannot "its addresses overlap the route to $route"
}
