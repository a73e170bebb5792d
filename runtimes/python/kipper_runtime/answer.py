"""Turns what a handler returned into status, headers and body. Pure."""

# These describe the connection and the framing, which are the server's to decide.
FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTROLS = bytes(set(range(32)) - {9}) + b"\x7f"


class AnswerError(Exception):
    """The handler returned something that cannot be sent."""


class Answer:
    """`headers` is a list of (lower-case name, value) in bytes; `body` is bytes or, when `stream`, an iterator."""

    __slots__ = ("status", "headers", "body", "stream")

    def __init__(self, status, headers, body, stream=False):
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream


def to_answer(value, empty_status):
    if value is None:
        return Answer(empty_status, [], b"")
    shaped = isinstance(value, dict) and "statusCode" in value
    status = read_status(value["statusCode"]) if shaped else 200
    headers = read_headers(value.get("headers")) if shaped else []
    encoded = shaped and bool(value.get("isBase64") or value.get("isBase64Encoded"))
    body, kind, stream = read_body(value.get("body") if shaped else value, encoded)
    if kind and status != 204 and not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", kind.encode()))
    return Answer(status, headers, body, stream)


def error_answer(status, message):
    import json

    return Answer(status, [(b"content-type", JSON.encode())], json.dumps({"error": message}).encode())


def read_status(value):
    status = int(value) if isinstance(value, str) and len(value) == 3 and value.isdigit() else value
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599:
        return int(status)
    raise AnswerError(f"statusCode must be a whole number from 200 to 599, not {value!r}")


def read_headers(given):
    if given is None:
        return []
    if not hasattr(given, "items"):
        raise AnswerError("headers must be a dict")
    headers = []
    for name, value in given.items():
        key = str(name).lower()
        if key in FRAMING or value is None:
            continue
        for one in value if isinstance(value, (list, tuple)) else (value,):
            headers.append(header(key, one))
    return headers


def header(name, value):
    if not isinstance(value, (str, int, float)):
        raise AnswerError(f"header {name} must be a string, a number or a list of them")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        raw_name, raw_value = name.encode("ascii"), text.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        raise AnswerError(f"header {name!r} holds characters that HTTP cannot carry") from None
    if not raw_name or raw_name.translate(None, TOKEN):
        raise AnswerError(f"{name!r} is not a header name")
    if len(raw_value.translate(None, CONTROLS)) != len(raw_value):
        raise AnswerError(f"header {name} holds a line break or another control character")
    return raw_name, raw_value


def read_body(value, encoded):
    """Returns (body, default content type, whether it is a stream)."""
    if value is None:
        return b"", None, False
    if isinstance(value, str):
        return (decode(value), BYTES, False) if encoded else (encode_text(value), TEXT, False)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), BYTES, False
    if is_stream(value):
        return value, BYTES, True
    return encode_json(value), JSON, False


def is_stream(value):
    kind = type(value)
    return hasattr(kind, "__next__") or hasattr(kind, "__aiter__")


def encode_text(text):
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AnswerError(f"the answer is not valid text: {error}") from None


def decode(text):
    import base64

    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AnswerError(f"isBase64 is set, but the body is not valid base64: {error}") from None


def encode_json(value):
    import json

    try:
        return json.dumps(value, default=plain, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise AnswerError(f"the answer cannot be written as JSON: {error}") from None


def plain(value):
    """What rows from a database hold beyond JSON: dates and times as ISO 8601, exact numbers and ids as text."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ in ("Decimal", "UUID"):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value")
