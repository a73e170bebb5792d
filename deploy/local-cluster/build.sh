# Builds the programs that no package has, once per version, outside the checkout.

go="$here/../../.ci/go"
kubernetes_programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
keda=github.com/kedacore/keda/v2

# What a build depends on: its own lines, what they name and the compiler.
stamp_of() {
    { printf '%s\n' "$@" && cat "$go" && go version; } | sha256sum | cut -d ' ' -f 1
}

# programs <group> <stamp> <command...>: runs the command unless the group carries the stamp. Says how
# far a `go build -v` is. A function joins its steps by `&&`: `set -e` does not hold where its status is asked for.
programs() {
    local group=$1 stamp=$2 begin=$SECONDS
    shift 2
    if [ "$(cat "$bin/.$group" 2>/dev/null)" = "$stamp" ]; then
        say "$group: built"
        return
    fi
    say "$group: building"
    # shellcheck disable=SC2016
    "$@" 2>&1 | tee "$cache/build.log" | awk -v group="$group" '
        $1 == "go:" { next }
        NF == 1 && ++packages % 250 == 0 { print group ": " packages " packages compiled"; fflush() }' || {
        tail -n 30 "$cache/build.log" >&2
        die "$group could not be built"
    }
    printf '%s\n' "$stamp" >"$bin/.$group"
    say "$group: built in $((SECONDS - begin)) s"
}

build() {
    local wrapper="$here/go"
    command -v go >/dev/null || die "go is missing; .ci/setup cluster installs it"
    mkdir -p "$bin"
    exec 8>"$cache/build.lock"
    flock 8
    programs kubernetes-keda-coredns-helm \
        "$(stamp_of "$(linker_flags)" "$(cd "$wrapper/cluster" && cat go.mod go.sum trim_keda.py coredns/main.go)")" \
        cluster_programs
    programs keda-manifests "$(stamp_of "$(cat "$wrapper/cluster/go.mod")" "$(declare -f keda_manifests)")" keda_manifests
    programs loki "$(stamp_of "$(cd "$wrapper/loki" && cat go.mod go.sum)")" loki_program
    programs pause "$(stamp_of "$(cat "$here/pause.c")")" \
        cc -Os -static -s -o "$bin/pause" "$here/pause.c"
    exec 8>&-
}

# As the Makefiles of Kubernetes and helm set them; they are for the linker alone, and no package is compiled
# again for them.
linker_flags() {
    local minor=${kubernetes_version#v1.} package
    minor=${minor%%.*}
    printf '%s' "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes_version"
    printf ' -X %s' k8s.io/component-base/version.git{Major=1,Minor="$minor"}
    for package in chartutil lint/rules; do
        printf ' -X %s' helm.sh/helm/v3/pkg/"$package".k8sVersion{Major=1,Minor="$minor"}
    done
}

# One `go build` for all of one module: what they share is compiled once, and one is linked while another
# is compiled. KEDA is taken from a trimmed copy of its module.
cluster_programs() {
    local out="$cache/go/programs"
    mkdir -p "$cache/go" &&
        cd "$here/go/cluster" &&
        python3 ./trim_keda.py "$(keda_module)" "$cache/go/keda" &&
        cp go.sum "$cache/go/go.sum" &&
        { cat go.mod && printf '\nreplace %s => %s\n' "$keda" "$cache/go/keda"; } >"$cache/go/go.mod" &&
        "$go" build -v -modfile "$cache/go/go.mod" -ldflags "$(linker_flags)" -o "$out/" \
            "${kubernetes_programs[@]/#/k8s.io/kubernetes/cmd/}" "$keda"/cmd/{operator,adapter} \
            ./coredns helm.sh/helm/v3/cmd/helm &&
        mv "$out/operator" "$out/keda-operator" &&
        mv "$out/adapter" "$out/keda-adapter" &&
        # Moved into place, because the programs that are replaced may be running.
        mv "$out"/* "$bin/"
}

loki_program() {
    cd "$here/go/loki" &&
        "$go" build -v -o "$bin/loki.new" github.com/grafana/loki/cmd/loki &&
        mv "$bin/loki.new" "$bin/loki"
}

# The folder of KEDA's module.
keda_module() {
    (cd "$here/go/cluster" && go mod download "$keda" && go list -m -f '{{.Dir}}' "$keda")
}

# KEDA's CRDs, roles and service account, as its module ships them; the order is by name.
keda_manifests() {
    local module out="$cache/keda-manifests" part
    module="$(keda_module)" &&
        rm -rf "$out" &&
        mkdir -p "$out" &&
        install -m 644 "$module/config/general/namespace.yaml" "$out/0-namespace.yaml" &&
        install -m 644 "$module"/config/crd/bases/*.yaml "$out/" &&
        install -m 644 "$module/config/service_account/service_account.yaml" "$out/service_account.yaml" ||
        return
    for part in rbac/role rbac/role_binding rbac/aggregate_cluster_roles metrics-server/role metrics-server/role_binding; do
        install -m 644 "$module/config/$part.yaml" "$out/${part/\//-}.yaml" || return
    done
}

built() {
    local program
    for program in "${kubernetes_programs[@]}" keda-operator keda-adapter coredns loki helm pause; do
        [ -x "$bin/$program" ] || die "$bin/$program is missing; build it with \`$0 build\`"
    done
}
