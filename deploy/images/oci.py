#!/usr/bin/env python3
"""Writes an image as a tar that `docker load`, `ctr image import` and skopeo read: an OCI layout that carries Docker's
manifest.json as well. The same input gives the same bytes, so that an image's digest changes only with its content: owner,
times and order do not come from the machine.

    oci.py --name docker.io/kipper/x:dev --out x.tar --config config.json --layer folder [--layer folder ...]
    oci.py … --users app/function                                            folders that are the user's, not root's
    oci.py --name docker.io/kipper/x:0.1.0 --out y.tar --from x.tar          the same image under another name
"""

import argparse
import hashlib
import io
import json
import os
import platform
import stat
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--from", dest="source")
    parser.add_argument("--config")
    parser.add_argument("--layer", action="append")
    parser.add_argument("--users", action="append", default=[])
    args = parser.parse_args()
    if args.source:
        blobs, top = read(args.source)
    else:
        with open(args.config, encoding="utf-8") as file:
            config = json.load(file)
        blobs, top = image(config, [layer(folder, owners(config, args.users)) for folder in args.layer])
    write(args.out, args.name, blobs, top)


def owners(config, folders):
    """Of the folders that are the image's user's, by path: the user's number."""
    return {folder: int(config["User"].partition(":")[0]) for folder in folders}


def layer(folder, owners):
    """The folder's content as an uncompressed tar: unpacking it is all that a start has to wait for."""

    def anonymous(entry):
        entry.uid = entry.gid = owners.get(entry.name, 0)
        entry.mtime = 0
        entry.uname = entry.gname = ""
        # What is in an image is for everybody to read; /tmp keeps its sticky bit. Nothing else is for
        # everybody to write to, whatever the machine's umask is.
        entry.mode |= 0o555 if entry.isdir() or entry.mode & 0o100 else 0o444
        if not entry.mode & stat.S_ISVTX:
            entry.mode &= ~0o022
        return entry

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder, arcname=".", recursive=False, filter=anonymous)
        for parent, folders, files in os.walk(folder):
            folders.sort()
            for name in sorted(folders + files):
                path = os.path.join(parent, name)
                tar.add(path, arcname=os.path.relpath(path, folder), recursive=False, filter=anonymous)
    return out.getvalue()


def image(config, layers):
    """Its blobs by digest, and the descriptor of its manifest."""
    blobs = {}

    def blob(data, media_type):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    descriptors = [blob(data, f"{OCI}.layer.v1.tar") for data in layers]
    content = {
        "architecture": ARCHITECTURE[platform.machine()],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [descriptor["digest"] for descriptor in descriptors]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": blob(encode(content), f"{OCI}.config.v1+json"),
        "layers": descriptors,
    }
    return blobs, blob(encode(manifest), manifest["mediaType"])


def read(path):
    with tarfile.open(path) as tar:
        top = json.load(tar.extractfile("index.json"))["manifests"][0]
        names = [name for name in tar.getnames() if name.startswith("blobs/sha256/")]
        blobs = {f"sha256:{os.path.basename(name)}": tar.extractfile(name).read() for name in names}
    return blobs, {key: top[key] for key in ("mediaType", "digest", "size")}


def write(out, name, blobs, top):
    # The first is containerd's, the second the specification's.
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [{**top, "annotations": annotations}]}
    manifest = json.loads(blobs[top["digest"]])
    docker = {
        "Config": place(manifest["config"]["digest"]),
        "RepoTags": [name],
        "Layers": [place(descriptor["digest"]) for descriptor in manifest["layers"]],
    }
    with tarfile.open(f"{out}.part", "w") as tar:
        put(tar, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
        put(tar, "index.json", encode(index))
        put(tar, "manifest.json", encode([docker]))
        for digest in sorted(blobs):
            put(tar, place(digest), blobs[digest])
    os.replace(f"{out}.part", out)


def place(digest):
    return f"blobs/{digest.replace(':', '/')}"


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def put(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
