#!/usr/bin/env python3
"""Copies the running interpreter, its standard library and pip into a folder, below /usr, where the interpreter finds
them by its own place: `usr/bin/python3` looks for `usr/lib/python3.x`, wherever it was installed before."""

import os
import shutil
import sys
import sysconfig

# Most of a standard library's bytes, and nothing that a function imports.
SKIP = ("test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip", "__pycache__", "site-packages",
        "dist-packages", "EXTERNALLY-MANAGED")


def main():
    root = sys.argv[1]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = os.path.join(root, "usr", "lib", version)
    ignore = shutil.ignore_patterns(*SKIP, "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=ignore)
    binary = os.path.join(root, "usr", "bin", "python3")
    os.makedirs(os.path.dirname(binary), exist_ok=True)
    shutil.copy(os.path.realpath(sys.executable), binary)
    os.symlink("python3", os.path.join(root, "usr", "bin", "python"))
    copy_pip(root, library)


def copy_pip(root, library):
    """pip, where the interpreter in the image looks: Debian's has its own name for the folder."""
    import pip

    debian = os.path.exists("/etc/debian_version") and sys.prefix == "/usr"
    packages = os.path.join(root, "usr", "lib", "python3", "dist-packages") if debian else os.path.join(library, "site-packages")
    shutil.copytree(os.path.dirname(pip.__file__), os.path.join(packages, "pip"), ignore=shutil.ignore_patterns("__pycache__"))


if __name__ == "__main__":
    main()
