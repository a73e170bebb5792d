"""Installs a function's requirements.txt with pip, once per content, and makes the result importable. Imported only
when there is something to install.

An installation is filled under a temporary name and renamed into place: what carries the final name is complete, an
interrupted install leaves only rubbish behind, and of several starts at once the first rename wins.
"""

import hashlib
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import uuid

from .load import MANIFEST, after_standard_library, decode_manifest, read_manifest
from .log import Expected, log

MAX_FILES = 10_000
MAX_REASON = 400
MAX_VERSIONS = 5
STAMP = ".kipper-complete"


def prepare(root, config):
    work = os.path.abspath(config.work_dir or os.path.join(tempfile.gettempdir(), "kipper-functions"))
    target = os.path.join(work, f"python-{key(root)}")
    if not os.path.exists(os.path.join(target, STAMP)):
        started = time.monotonic()
        log(f"installing {MANIFEST} with pip")
        fill(target, lambda folder: install(folder, root, config))
        log(f"installed in {round((time.monotonic() - started) * 1000)} ms")
    # As a site folder, so that .pth files count; in front of the image's own packages.
    before = len(sys.path)
    site.addsitedir(target)
    added = sys.path[before:]
    del sys.path[before:]
    at = after_standard_library()
    sys.path[at:at] = added


def key(root):
    digest = hashlib.sha256(f"{root}\0{sys.version}\0{sys.platform}".encode())
    content = read_manifest(root)
    digest.update(content)
    for line in decode_manifest(content).splitlines():
        local = local_path(root, line)
        if local:
            hash_tree(digest, local)
    return digest.hexdigest()[:16]


def local_path(root, line):
    """A requirement that is a folder or a file beside the function: what is in it belongs to the key."""
    text = line.split(" #")[0].strip()
    if "@ file:" in text:
        text = text.split("@ file:", 1)[1]
    path = os.path.join(root, text.removeprefix("file:").removeprefix("//"))
    return path if text[:1] in (".", "/") and os.path.exists(path) else None


def hash_tree(digest, top):
    files = [top] if os.path.isfile(top) else []
    for folder, names, entries in os.walk(top):
        names[:] = sorted(name for name in names if name not in ("__pycache__", ".git", "build"))
        files.extend(os.path.join(folder, name) for name in sorted(entries))
        if len(files) > MAX_FILES:
            raise Expected(f"{top} holds more than {MAX_FILES} files: not a package's folder")
    for file in files:
        with open(file, "rb") as content:
            data = content.read()
        digest.update(f"{file}\0{len(data)}\0".encode())
        digest.update(data)


def fill(target, work):
    folder = f"{target}.{uuid.uuid4()}.tmp"
    os.makedirs(folder)
    try:
        work(folder)
        with open(os.path.join(folder, STAMP), "w", encoding="utf-8"):
            pass
        os.rename(folder, target)
    except (OSError, Expected):
        shutil.rmtree(folder, ignore_errors=True)
        # Somebody else's start finished first; theirs is as good as ours.
        if not os.path.exists(os.path.join(target, STAMP)):
            raise


def install(folder, root, config):
    # Not compiled: a start imports a part of what it installs, and importing compiles that part.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile", "--no-warn-script-location"]
    command += ["--disable-pip-version-check", "--target", folder, "-r", os.path.join(root, MANIFEST)]
    pip = subprocess.Popen(command, cwd=root, env=pip_environment(os.environ),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    stop_with(pip)
    try:
        output, _ = pip.communicate(timeout=config.install_seconds)
    except subprocess.TimeoutExpired:
        pip.kill()
        pip.communicate()
        raise Expected(f"pip install did not finish within {config.install_seconds} s (KIPPER_INSTALL_SECONDS)") from None
    if pip.returncode != 0:
        text = output.decode("utf-8", "replace")
        raise Expected(f"pip install failed: {reason(text) or f'exit code {pip.returncode}'}", text)


# Settings of the machine that would send the packages elsewhere, or nowhere, or hide pip's reason.
REDIRECTIONS = ("TARGET", "PREFIX", "ROOT", "PYTHON", "REPORT", "REQUIREMENT", "EDITABLE", "QUIET", "VERBOSE")
# Set rather than removed, because pip's configuration files may say so as well.
OFF = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DRY_RUN": "0"}


def pip_environment(env):
    """Index, proxy and credentials stay as the machine has them."""
    redirecting = {f"PIP_{name}" for name in REDIRECTIONS}
    return {name: value for name, value in env.items() if name.upper() not in redirecting} | OFF


def stop_with(child):
    """A stop during the install takes pip along."""

    def stop(number, _frame):
        child.kill()
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def reason(output):
    """pip's first ERROR line, without a long list of versions; without one (pip itself is missing) the last line says
    why. The whole of what pip said is the error's detail."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    text = re.sub(r"\(from versions: (.*)\)", lambda found: versions(found[1]), (errors or lines[-1:] or [""])[0])
    if any("connection broken by" in line for line in lines):
        text += "; the package index could not be reached"
    return text[:MAX_REASON]


def versions(text):
    """The newest few of the versions there are."""
    found = text.split(", ")
    shown = found if len(found) <= MAX_VERSIONS else ["…", *found[-MAX_VERSIONS:]]
    return f"(from versions: {', '.join(shown)})"
