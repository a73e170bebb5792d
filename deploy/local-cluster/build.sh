# Builds the programs that no package has, once per version, outside the checkout.

# What a build depends on: its own line, the module it comes from and the compiler.
stamp_of() {
    { printf '%s\n' "$@" && go version; } | sha256sum | cut -d ' ' -f 1
}

# programs <group> <stamp> <command...>: runs the command unless the group carries the stamp.
programs() {
    local group=$1 stamp=$2 begin=$SECONDS
    shift 2
    if [ "$(cat "$bin/.$group" 2>/dev/null)" = "$stamp" ]; then
        say "$group: built"
        return
    fi
    say "$group: building"
    "$@" >"$cache/build.log" 2>&1 || {
        tail -n 30 "$cache/build.log" >&2
        die "$group could not be built"
    }
    printf '%s\n' "$stamp" >"$bin/.$group"
    say "$group: built in $((SECONDS - begin)) s"
}

build() {
    command -v go >/dev/null || die "go is missing; .ci/setup cluster installs it"
    mkdir -p "$bin"
    exec 8>"$cache/build.lock"
    flock 8
    build_kubernetes
    build_keda
    programs coredns "$(module_stamp coredns "$(cat "$here/go/coredns/main.go")")" module_build coredns "-s -w" "$bin/coredns" .
    programs loki "$(module_stamp loki "-s -w")" \
        module_build loki "-s -w" "$bin/loki" github.com/grafana/loki/v3/cmd/loki
    build_installed helm helm.sh/helm/v3/cmd/helm "$helm_version"
    programs pause "$(stamp_of "$(cat "$here/images/pause.c")")" \
        cc -Os -static -s -o "$bin/pause" "$here/images/pause.c"
    exec 8>&-
}

build_kubernetes() {
    local program version=k8s.io/component-base/version minor=${kubernetes_version#v1.}
    local flags="-s -w -X $version.gitVersion=$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
    for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
        programs "$program" "$(module_stamp kubernetes "$flags")" \
            module_build kubernetes "$flags" "$bin/$program" "k8s.io/kubernetes/cmd/$program"
    done
}

build_keda() {
    local program flags="-s -w"
    for program in operator adapter; do
        programs "keda-$program" "$(module_stamp keda "$flags")" \
            module_build keda "$flags" "$bin/keda-$program" "github.com/kedacore/keda/v2/cmd/$program"
    done
    programs keda-manifests "$(module_stamp keda "")" keda_manifests
}

# The wrapper modules pin everything: go.sum holds the checksum of every source file's archive.
module_stamp() { stamp_of "$2" "$(cat "$here/go/$1/go.mod" "$here/go/$1/go.sum")"; }

# module_build <wrapper> <linker flags> <output> <package>. Moved into place, because the program that
# is replaced may be running.
module_build() {
    (cd "$here/go/$1" && nice go build -trimpath -buildvcs=false -ldflags "$2" -o "$3.new" "$4") && mv "$3.new" "$3"
}

build_installed() {
    programs "$1" "$(stamp_of "$2@$3")" env GOBIN="$bin" GOFLAGS=-trimpath nice go install -ldflags "-s -w" "$2@$3"
}

# KEDA's CRDs, roles and service account, as its module ships them; the order is by name.
keda_manifests() {
    local module out="$cache/keda-manifests" part
    module="$(cd "$here/go/keda" && go list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)"
    rm -rf "$out"
    mkdir -p "$out"
    install -m 644 "$module/config/general/namespace.yaml" "$out/0-namespace.yaml"
    install -m 644 "$module"/config/crd/bases/*.yaml "$out/"
    install -m 644 "$module/config/service_account/service_account.yaml" "$out/service_account.yaml"
    for part in rbac/role rbac/role_binding rbac/aggregate_cluster_roles metrics-server/role metrics-server/role_binding; do
        install -m 644 "$module/config/$part.yaml" "$out/${part/\//-}.yaml"
    done
}

built() {
    local program
    for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl \
        keda-operator keda-adapter coredns loki helm pause; do
        [ -x "$bin/$program" ] || die "$bin/$program is missing; build it with \`$0 build\`"
    done
}
