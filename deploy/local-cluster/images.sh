# Our images on the local cluster: made as everywhere (deploy/images), and imported without a registry when
# their archive is another than the one imported last.

# shellcheck source=/dev/null
. "$here/../images/make.sh"
pause_image="$image_prefix/pause:1"

# images [name...]: all without a name.
images() {
    local name wanted=("$@") folder=""
    [ ${#wanted[@]} -gt 0 ] || wanted=("${rust_images[@]%%=*}" "${test_images[@]%%=*}" "${runtime_images[@]}")
    for name in "${wanted[@]}"; do
        if [[ " ${runtime_images[*]} " != *" $name "* && -z "$folder" ]]; then
            folder="$("$here/../images/binaries")"
            # Where `env` puts kubectl and helm.
            ln -sf "$folder/kip" "$bin/kip"
        fi
        make_image "$name" "$folder"
        import "$name" "$image_prefix/$name:$image_tag"
    done
}

# import <image> <reference>: unless this very tar was imported into this cluster.
import() {
    mkdir -p "$state/images"
    cmp -s "$image_cache/$1.digest" "$state/images/$1" && return
    ctr images import "$image_cache/$1.tar" >/dev/null || die "$2 could not be imported"
    cp "$image_cache/$1.digest" "$state/images/$1"
    say "$1: imported as $2"
}

import_pause() {
    local name=pause
    mkdir -p "$image_cache"
    if changed pause "$(sha256sum <"$bin/pause")"; then
        new_root
        cp "$bin/pause" "$stage/root/pause"
        image_tag=1 pack pause "$(image_config /pause)" "$stage/root"
    fi
    import pause "$pause_image"
}
