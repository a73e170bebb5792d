# Our images, made without Docker from the binaries that tests run, one archive each. An archive is made again
# only when what is in it has changed, and the same content gives the same bytes. Sourced by whoever has
# `say` and `die`.

image_sources="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
kipper_cache="${KIPPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipper}"
image_cache="$kipper_cache/images"
stage="$image_cache/stage"
image_prefix=docker.io/kipper
image_tag=dev
npm_version=10

# <image>=<binary> [arguments].
rust_images=(
    "interceptor=kipper-interceptor"
    "scaler-adapter=kipper-scaler-adapter"
    "controller=kipper-controller"
    "poller=kipper-poll"
    "console=kipper-console"
)
runtime_images=(runtime-node runtime-python)
# For the local cluster's tests alone.
test_images=(
    "test-server=kipper-bench backend --listen 0.0.0.0:8080"
    "test-server-tmp=kipper-bench backend --listen 0.0.0.0:8080"
)
# Paths that an image declares as volumes: <image>=<path>.
volumes=("test-server-tmp=/tmp")

# make_image <image> <folder of binaries>
make_image() {
    local entry
    mkdir -p "$image_cache"
    case "$1" in
        runtime-node) node_image ;;
        runtime-python) python_image ;;
        *)
            entry="$(printf '%s\n' "${rust_images[@]}" "${test_images[@]}" | grep "^$1=")" || die "there is no image $1"
            rust_image "$1" "$2" "${entry#*=}"
            ;;
    esac
}

# rust_image <image> <folder> <binary and arguments>
rust_image() {
    local binary=${3%% *} built
    built="$2/$binary"
    changed "$1" "$3" "$(sha256sum <"$built")" || return 0
    new_root
    mkdir -p "$stage/root/usr/bin" "$stage/root/etc/ssl/certs"
    cp "$built" "$stage/root/usr/bin/"
    # shellcheck disable=SC2086
    pack "$1" "$(image_config /usr/bin/$3)" "$stage/root"
}

# changed <image> <what it is made of...>: false when the tar that is there was made of the same.
changed() {
    local name=$1
    shift
    key="$(printf '%s\n' "$@" "$(cat "$image_sources"/make.sh "$image_sources"/*.py)" | sha256sum)"
    [ ! -e "$image_cache/$name.tar" ] || [ "$(cat "$image_cache/$name.key" 2>/dev/null)" != "$key" ]
}

# A root folder as every image of ours has it: a user that is not root, a place to write.
new_root() {
    rm -rf "$stage"
    mkdir -p "$stage/root/etc" "$stage/root/tmp"
    chmod 1777 "$stage/root/tmp"
    printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n' >"$stage/root/etc/passwd"
    printf 'root:x:0:\nnonroot:x:65532:\n' >"$stage/root/etc/group"
    printf 'hosts: files dns\n' >"$stage/root/etc/nsswitch.conf"
}

# image_config <entrypoint...>
image_config() {
    python3 -c '
import json, sys
print(json.dumps({"User": "65532:65532", "WorkingDir": "/", "Entrypoint": sys.argv[1:],
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"]}))' "$@"
}

# with_volumes <image> <config>
with_volumes() {
    python3 -c '
import json, sys
image, config, declared = sys.argv[1], json.loads(sys.argv[2]), [entry.split("=", 1) for entry in sys.argv[3:]]
paths = {path: {} for name, path in declared if name == image}
print(json.dumps(config | ({"Volumes": paths} if paths else {})))' "$1" "$2" "${volumes[@]}"
}

# pack <image> <config> <layer folder...>
pack() {
    local name=$1 layers=() folder
    with_volumes "$1" "$2" >"$stage/config.json"
    shift 2
    for folder in "$@"; do layers+=(--layer "$folder"); done
    python3 "$image_sources/oci.py" --name "$image_prefix/$name:$image_tag" --config "$stage/config.json" \
        --out "$image_cache/$name.tar" "${layers[@]}" --users app/function
    printf '%s\n' "$key" >"$image_cache/$name.key"
    sha256sum <"$image_cache/$name.tar" >"$image_cache/$name.digest"
    rm -rf "$stage"
    say "$name: made, $(du -m "$image_cache/$name.tar" | cut -f 1) MiB"
}

# libraries <program...>: what the dynamic linker would load, at the same places, into the layer.
libraries() {
    ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u | while read -r file; do
        install -D "$(realpath "$file")" "$stage/base$file"
    done
}

node_image() {
    local package node npm
    package="node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"
    node="$kipper_cache/node22/node_modules/$package/bin/node"
    npm="$image_cache/npm/node_modules/npm"
    npm_package "$kipper_cache/node22" "$package@22" "$node"
    npm_package "$image_cache/npm" "npm@$npm_version" "$npm/package.json"
    changed runtime-node "$("$node" --version)" "$(grep '"version"' "$npm/package.json")" \
        "$(tree_sum "$image_sources/../../runtimes/node")" || return 0
    new_root
    mkdir -p "$stage"/base/usr/lib/node_modules "$stage"/base/{usr/bin,bin} "$stage/root/opt/kipper"
    cp "$node" "$stage/base/usr/bin/node"
    cp -r "$npm" "$stage/base/usr/lib/node_modules/npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$stage/base/usr/bin/npm"
    # npm's own first line needs env, and installs of native packages a shell.
    cp "$(command -v busybox)" "$stage/base/bin/busybox"
    ln -s busybox "$stage/base/bin/sh"
    ln -s ../../bin/busybox "$stage/base/usr/bin/env"
    libraries "$node"
    runtime_files node
    pack runtime-node "$(image_config node /opt/kipper/runtime/main.js)" "$stage/base" "$stage/root"
}

# npm_package <folder> <package> <file that is there when it is installed>
npm_package() {
    [ -e "$3" ] || npm install --prefix "$1" --no-save --no-audit --no-fund --loglevel=error "$2" >/dev/null
}

tree_sum() { find "$1" -type f ! -path '*/test*/*' ! -name '*.pyc' | sort | xargs sha256sum | sha256sum; }

# runtime_files <language>: the wrapper without its tests, as a layer of its own, and the folder into which it writes
# code that comes in the environment.
runtime_files() {
    mkdir -p "$stage/root/app/function"
    cp -r "$image_sources/../../runtimes/$1" "$stage/root/opt/kipper/runtime"
    rm -rf "$stage"/root/opt/kipper/runtime/{test,tests}
    find "$stage/root/opt/kipper/runtime" -name __pycache__ -prune -exec rm -rf {} +
}

python_image() {
    local python="${KIPPER_PYTHON:-python3}"
    python="$("$python" -c 'import sys; print(sys.executable)')"
    changed runtime-python "$("$python" -VV)" "$("$python" -m pip --version)" \
        "$(tree_sum "$image_sources/../../runtimes/python")" || return 0
    new_root
    mkdir -p "$stage/base" "$stage/root/opt/kipper"
    "$python" "$image_sources/python_layer.py" "$stage/base"
    find "$stage/base/usr/lib" -name '*.so' -print0 | xargs -0 bash -c 'ldd "$@" 2>/dev/null' - \
        | grep -o '/[^ :]*\.so[^ :]*' | sort -u | while read -r file; do
        install -D "$(realpath "$file")" "$stage/base$file"
    done
    libraries "$(realpath "$python")"
    runtime_files python
    # Valid whatever the files' times say, because an image's are all the same; and never written
    # again, because the root is read-only.
    "$python" -m compileall -q --invalidation-mode unchecked-hash -s "$stage/base" -p / "$stage/base/usr/lib" || true
    "$python" -m compileall -q --invalidation-mode unchecked-hash -s "$stage/root" -p / "$stage/root/opt/kipper/runtime"
    pack runtime-python "$(image_config python3 /opt/kipper/runtime/main.py)" "$stage/base" "$stage/root"
}
