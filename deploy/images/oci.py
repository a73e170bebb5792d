#!/usr/bin/env python3
"""Writes an OCI image as a tar that `ctr images import` reads. The same input gives the same bytes, so that an
image's digest changes only with its content: owner, times and order do not come from the machine.

    oci.py --name docker.io/kipper/x:dev --config config.json --out x.tar --layer folder [--layer folder ...]
"""

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--name", "--config", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--layer", action="append", required=True)
    args = parser.parse_args()
    with open(args.config, encoding="utf-8") as file:
        config = json.load(file)
    write(args.out, args.name, config, [layer(folder) for folder in args.layer])


def layer(folder):
    """The folder's content as an uncompressed tar: unpacking it is all that a start has to wait for."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder, arcname=".", recursive=False, filter=anonymous)
        for parent, folders, files in os.walk(folder):
            folders.sort()
            for name in sorted(folders + files):
                path = os.path.join(parent, name)
                tar.add(path, arcname=os.path.relpath(path, folder), recursive=False, filter=anonymous)
    return out.getvalue()


def anonymous(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    # What is in an image is for everybody to read; /tmp keeps its sticky bit.
    entry.mode |= 0o555 if entry.isdir() or entry.mode & 0o100 else 0o444
    return entry


def write(out, name, config, layers):
    blobs = {}

    def blob(data, media_type, **extra):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **extra}

    descriptors = [blob(data, f"{OCI}.layer.v1.tar") for data in layers]
    image = {
        "architecture": ARCHITECTURE[platform.machine()],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [descriptor["digest"] for descriptor in descriptors]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": blob(encode(image), f"{OCI}.config.v1+json"),
        "layers": descriptors,
    }
    top = blob(encode(manifest), manifest["mediaType"], annotations={"io.containerd.image.name": name})
    index = {"schemaVersion": 2, "manifests": [top]}
    with tarfile.open(f"{out}.part", "w") as tar:
        put(tar, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
        put(tar, "index.json", encode(index))
        for digest in sorted(blobs):
            put(tar, f"blobs/sha256/{digest}", blobs[digest])
    os.replace(f"{out}.part", out)


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def put(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
