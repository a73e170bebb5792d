"""Starts the real wrapper as a child process on an ephemeral port and talks HTTP to it over loopback."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest

MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "main.py")
DEADLINE_SECONDS = 60


class Run:
    """A wrapper's process; what it prints is collected as it comes."""

    def __init__(self, function_path, env, flags=()):
        settings = {"PORT": "0", "KIPPER_HOST": "127.0.0.1", "KIPPER_FUNCTION_PATH": function_path}
        # Without this setting the wrapper itself has to see to it that lines leave as they are printed.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(
            [sys.executable, *flags, MAIN], env=inherited | settings | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.output = {"stdout": "", "stderr": ""}
        self.changed = threading.Condition()
        self.port = None
        self.readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in self.output]
        for reader in self.readers:
            reader.start()

    def _read(self, name):
        stream = getattr(self.process, name)
        while data := os.read(stream.fileno(), 65536):
            with self.changed:
                self.output[name] += data.decode()
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def stdout(self):
        return self.output["stdout"]

    @property
    def stderr(self):
        return self.output["stderr"]

    def sees(self, pattern):
        def look():
            found = re.search(pattern, self.stdout + self.stderr, re.MULTILINE)
            return found or not any(reader.is_alive() for reader in self.readers)

        with self.changed:
            self.changed.wait_for(look, DEADLINE_SECONDS)
            found = look()
        if not isinstance(found, re.Match):
            raise AssertionError(f"{pattern} never came: {self.stdout}{self.stderr}")
        return found

    def exit_code(self):
        code = self.process.wait(DEADLINE_SECONDS)
        for reader in self.readers:
            reader.join(DEADLINE_SECONDS)
        return code

    def close(self):
        self.process.kill()
        self.exit_code()
        self.process.stdout.close()
        self.process.stderr.close()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)

    def request(self, method, target, body=None, headers=None, **options):
        connection = self.connect()
        try:
            connection.request(method, target, body, headers or {}, **options)
            return Response(connection.getresponse())
        finally:
            connection.close()

    def get(self, target, headers=None):
        return self.request("GET", target, None, headers)

    def post(self, target, value):
        return self.request("POST", target, json.dumps(value), {"content-type": "application/json"})

    def raw(self, data):
        """Sends bytes as they are and returns everything that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_SECONDS) as sock:
            # From a thread: a server that waits for its answers to be read stops reading requests.
            sender = threading.Thread(target=sendall, args=(sock, data))
            sender.start()
            answer = b""
            try:
                while part := sock.recv(65536):
                    answer += part
            finally:
                sender.join()
            return answer


def sendall(sock, data):
    try:
        sock.sendall(data)
    except OSError:
        pass  # refused before the end; the answer says so


class Response:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.type = response.headers["content-type"]
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class WrapperTest(unittest.TestCase):
    maxDiff = None

    def folder(self, files, prefix="kipper-python-test-"):
        root = tempfile.mkdtemp(prefix=prefix)
        self.addCleanup(shutil.rmtree, root)
        for name, text in ({"handler.py": files} if isinstance(files, str) else files).items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))
        return root

    def launch(self, path, flags=(), **env):
        run = Run(path, env, flags)
        self.addCleanup(run.close)
        return run

    def start_at(self, path, **env):
        run = self.launch(path, **env)
        run.port = int(run.sees(r"listening on http://127\.0\.0\.1:(\d+)").group(1))
        return run

    def start(self, files, **env):
        return self.start_at(self.folder(files), **env)

    def both(self, source):
        """The same handler, served by the small loop and by asyncio."""
        return [textwrap.dedent(source).replace("DEF", prefix + "def") for prefix in ("", "async ")]
