"""Code that came in the environment, as files of the function's folder: `KIPPER_FILES` has their paths, one per line, and
`KIPPER_FILE_<n>` the text of each. The variables are gone afterwards: neither the function nor its children see them.
Nobody can write to the files, as to those of a volume."""

import os
import sys

from .log import Expected

READ_ONLY = 0o444
READ_ONLY_FOLDER = 0o555


def unpack(env, root):
    """`env` is one of bytes."""
    folders = {root}
    for place, path in enumerate(os.fsdecode(env.pop(b"KIPPER_FILES")).split("\n")):
        file = os.path.join(root, path)
        while path := os.path.dirname(path):
            folders.add(os.path.join(root, path))
        try:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(os.open(file, os.O_WRONLY | os.O_CREAT, READ_ONLY), "wb") as out:
                out.write(env.pop(b"KIPPER_FILE_%d" % place))
        except OSError as error:
            raise Expected(f"cannot write {file}: {error.strerror}") from None
    for folder in folders:
        os.chmod(folder, READ_ONLY_FOLDER)
    # Compiled files would go the way of the container before anybody read them.
    sys.dont_write_bytecode = True
