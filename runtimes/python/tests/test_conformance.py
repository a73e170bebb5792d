"""Runs the rows of runtimes/conformance that Python has to pass; runtimes/README.md says what a row may hold."""

import base64
import gzip
import http.client
import json
import os
import zlib

from .harness import WrapperTest

TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conformance")
SETTINGS = {"KIPPER_ERROR_DETAIL": "true", "KIPPER_DRAIN_SECONDS": "20"}
OUTPUT = {"cut", "log", "notLog", "stdout", "quiet"}
HELPER = """
def throw(error):
    raise error
cases = [
%s
]
DEF handler(event, context): return cases[int(context.query["case"])]()
"""


class ConformanceTest(WrapperTest):
    def check_table(self, name):
        with open(os.path.join(TABLES, name), encoding="utf-8") as file:
            table = json.load(file)
        for source, environment, mode, rows in groups(table):
            text = json.dumps(source)
            for variant in ("def", "async def") if "DEF" in text else ("",):
                names = rows[0]["name"] if len(rows) == 1 else f"{len(rows)} rows"
                with self.subTest(f"{name}: {names} {variant}"):
                    self.run_group(json.loads(text.replace("DEF", variant)), environment, mode, rows)

    def test_answers(self):
        self.check_table("answers.json")

    def test_batch(self):
        self.check_table("batch.json")

    def test_failures(self):
        self.check_table("failures.json")

    def test_handlers(self):
        self.check_table("handlers.json")

    def test_requests(self):
        self.check_table("requests.json")

    def test_every_table_is_run(self):
        tables = {name for name in os.listdir(TABLES) if name.endswith(".json")}
        methods = {f"{name.removeprefix('test_')}.json" for name in dir(self) if name.startswith("test_")}
        self.assertEqual(tables - methods, set())

    def place(self, source):
        root = self.folder(source["files"], prefix="conformance-")
        for name, target in source.get("links", {}).items():
            os.symlink(target, os.path.join(root, name))
        return os.path.join(root, source.get("path", ""))

    def run_group(self, source, environment, mode, rows):
        batch = {"KIPPER_MODE": "batch", "KIPPER_TRIGGER": "test"} if mode == "batch" else {}
        run = self.launch(self.place(source), **SETTINGS | batch | environment)
        if mode in ("batch", "refused"):
            self.assertEqual(run.exit_code(), rows[0]["expect"]["exit"], run.stderr)
            self.check_output(run, rows[0]["expect"])
            return
        run.port = int(run.sees(r"listening on http://127\.0\.0\.1:(\d+)").group(1))
        for row in rows:
            with self.subTest(row["name"]):
                self.exchange(run, row)
        run.process.terminate()
        self.assertEqual(run.exit_code(), 0, "every request is given back, so the drain ends")
        self.assertNotIn("drain deadline", run.stderr)
        for row in rows:
            self.check_output(run, {name: value for name, value in row["expect"].items() if name != "log"})

    def check_output(self, run, expect):
        if "log" in expect:
            self.assertRegex(run.stderr, expect["log"])
        if "notLog" in expect:
            self.assertNotRegex(run.stderr, expect["notLog"])
        if "stdout" in expect:
            self.assertEqual(run.stdout, expect["stdout"])
        if expect.get("quiet"):
            self.assertRegex(run.stderr, r"\Akipper: listening [^\n]+\nkipper: draining, [^\n]+\n\Z")

    def exchange(self, run, row):
        expect = row["expect"]
        event = {"path": "/event", "type": "application/json", "body": '{"id":1}'}
        sent = row.get("request", event if row["mode"] == "event" else {"method": "GET"})
        target = sent.get("path", "/") + (f"?case={row['number']}" if "number" in row else "")
        headers = dict(sent.get("headers", {}))
        if "type" in sent:
            headers["content-type"] = sent["type"]
        body = bytes_of(sent["body"]) if "body" in sent else None
        if expect.get("cut"):
            with self.assertRaises((http.client.IncompleteRead, ConnectionResetError)):
                run.request(sent.get("method", "POST"), target, body, headers)
        else:
            self.check_answer(run.request(sent.get("method", "POST"), target, body, headers), expect)
        if "log" in expect:
            run.sees(expect["log"])

    def check_answer(self, answer, expect):
        for name, value in expect.items():
            if name not in OUTPUT:
                getattr(self, f"check_{name}")(answer, value)

    def check_status(self, answer, status):
        self.assertEqual(answer.status, status, answer.body)

    def check_acked(self, answer, acked):
        self.assertEqual(200 <= answer.status < 300, acked)

    def check_type(self, answer, kind):
        self.assertEqual(answer.type, kind)

    def check_body(self, answer, body):
        self.assertEqual(answer.text, body)

    def check_base64(self, answer, text):
        self.assertEqual(base64.b64encode(answer.body).decode(), text)

    def check_json(self, answer, value):
        self.assertEqual(answer.json(), value)

    def check_text(self, answer, text):
        self.assertIn(text, answer.text)

    def check_error(self, answer, pattern):
        self.assertRegex(answer.json()["error"], pattern)

    def check_reason(self, answer, reason):
        self.assertEqual(answer.json()["reason"], reason)

    def check_requestId(self, answer, request_id):
        self.assertEqual(answer.json().get("requestId"), request_id)

    def check_headers(self, answer, headers):
        for name, value in headers.items():
            seen = answer.headers.get_all(name)
            if isinstance(value, str):
                seen = ", ".join(seen or ())
            self.assertEqual(seen, value, name)

    def check_event(self, answer, event):
        self.assertEqual(answer.json()["event"], event)

    def check_eventLength(self, answer, length):
        self.assertEqual(len(str(answer.json()["event"])), length)

    def check_isBase64(self, answer, is_base64):
        self.assertEqual(answer.json()["context"]["isBase64"], is_base64)

    def check_raw(self, answer, raw):
        self.assertEqual(answer.json()["raw"], raw)

    def check_context(self, answer, context):
        seen = answer.json()["context"]
        self.assertEqual({name: seen[name] for name in context}, context)

    def check_contextHeaders(self, answer, headers):
        seen = answer.json()["context"]["headers"]
        self.assertEqual({name: seen.get(name) for name in headers}, headers)


def groups(table):
    """Rows with the same function, settings and mode share a process."""
    rows, expressions = [], []
    for row in table["cases"]:
        row.setdefault("mode", table.get("mode", "http"))
        if row.get("python") is False:
            assert row.get("why"), f"{row['name']}: a row that is not for Python says why"
            continue
        row["expect"] = row["expect"] | row.get("expectPython", {})
        given = row.get("python")
        if isinstance(given, dict) and "files" not in given:
            row["number"] = len(expressions)
            expressions.append("lambda: (" + given.get("returns", f"throw({given.get('throws')})") + "),")
        rows.append(row)
    chosen = table.get("setup", {}).get("python", "") + HELPER % "\n".join(expressions)
    found = {}
    for row in rows:
        source = chosen if "number" in row else row.get("python") or table["handler"]["python"]
        source = {"files": {"handler.py": source}} if isinstance(source, str) else source
        mode = "http" if row["mode"] == "event" else row["mode"]
        key = json.dumps([source, row.get("env"), mode])
        found.setdefault(key, (source, row.get("env", {}), mode, []))[3].append(row)
    return found.values()


def bytes_of(body):
    if isinstance(body, str):
        return body.encode()
    for name, make in MAKERS.items():
        if name in body:
            return make(body[name])
    return (body.get("start", "") + body["repeat"] * body["times"] + body.get("end", "")).encode()


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(bytes_of(body)) + packer.flush()


MAKERS = {
    "base64": base64.b64decode,
    "gzip": lambda body: gzip.compress(bytes_of(body)),
    "deflate": lambda body: zlib.compress(bytes_of(body)),
    "rawDeflate": raw_deflate,
    "join": lambda parts: b"".join(map(bytes_of, parts)),
}
