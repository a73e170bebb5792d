#!/usr/bin/env python3
"""The Python runtime's request parser: the same requests and the same refusal, however the bytes are cut.

Takes libFuzzer's arguments. Needs atheris, which `.ci/setup` installs.
"""

import os
import sys

import atheris

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runtimes", "python"))
with atheris.instrument_imports(include=["kipper_runtime"]):
    from kipper_runtime.http1 import Parser, Refused
    from kipper_runtime.limits import Limits

MAX_BODY = 4096


def read(data, step):
    """Every request in pieces of `step` bytes, and the status of the refusal that ended it."""
    parser, requests = Parser(Limits(max_body=MAX_BODY)), []
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
        try:
            while (request := parser.next()) is not None:
                assert len(request.body) <= MAX_BODY
                requests.append((request.method, request.target, request.version, dict(request.headers), request.body))
        except Refused as refused:
            return requests, refused.status
    return requests, None


def target(data):
    if data:
        assert read(data[1:], len(data)) == read(data[1:], data[0] + 1)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
