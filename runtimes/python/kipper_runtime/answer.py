"""Turns what a handler returned into status, headers and body. Pure."""

from .error import AnswerError

# These describe the connection and the framing, which are the server's to decide.
FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTROLS = bytes(set(range(32)) - {9}) + b"\x7f"


# A dict of nothing but these is an answer although its status is called `status`.
ANSWER_KEYS = frozenset(
    ("status", "headers", "body", "isBase64", "isBase64Encoded", "multiValueHeaders", "cookies")
)
BODY_TYPES = (str, bytes, bytearray, memoryview, dict, list, type(None))


class Answer:
    """`headers` is a list of (lower-case name, value) in bytes; `body` is bytes or, when `stream`, an iterator."""

    __slots__ = ("status", "headers", "body", "stream")

    def __init__(self, status, headers, body, stream=False):
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream


def to_answer(value, empty_status):
    """Raises an exception that was returned: it is a failure, not an answer."""
    if value is None:
        return Answer(empty_status, [], b"")
    if isinstance(value, BaseException):
        raise value
    if type(value) is tuple:
        value = from_pair(value)
    given = status_of(value)
    shaped = given is not None
    status = read_status(given) if shaped else 200
    headers = answer_headers(value) if shaped else []
    encoded = shaped and bool(value.get("isBase64") or value.get("isBase64Encoded"))
    body, kind, stream = read_body(value.get("body") if shaped else value, encoded)
    if kind and status != 204 and not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", kind.encode()))
    return Answer(status, headers, body, stream)


def from_pair(value):
    """`return body, status` and `return body, status, headers`, as in Flask. Two numbers are data."""
    if len(value) not in (2, 3) or not is_status(value[1]):
        return value
    if not (isinstance(value[0], BODY_TYPES) or is_stream(value[0])):
        return value
    if len(value) == 3 and not (value[2] is None or isinstance(value[2], (dict, list))):
        return value
    return {"statusCode": value[1], "headers": value[2] if len(value) == 3 else None, "body": value[0]}


def is_status(value):
    return isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599


def status_of(value):
    """The status when the value is an answer, None when it is data."""
    if not isinstance(value, dict):
        return None
    if "statusCode" in value:
        return "None" if value["statusCode"] is None else value["statusCode"]
    status = value.get("status")
    shaped = ANSWER_KEYS.issuperset(value)
    if shaped and status is None and "body" in value and "headers" in value:
        hint("the handler returned a dict with headers and body and no statusCode: it is sent as data; an answer has a statusCode")
    if not is_status(status):
        return None
    if shaped and ("body" in value or "headers" in value):
        return status
    if status != 200:
        hint(
            f"the handler returned a dict with status {int(status)}: it is sent as data with 200;"
            " an answer's status is called statusCode"
        )
    return None


def hint(text):
    from .log import log_once

    log_once(text)


# The short name of a refusal; those that the interceptor's own answers have too are the same.
REFUSALS = {400: "bad_request", 403: "event_path", 408: "request_timeout", 413: "body_too_large"}
REFUSALS |= {431: "headers_too_large", 501: "transfer_coding", 503: "overloaded", 505: "http_version"}


def refusal(status, text, request=None, headers=()):
    """What the runtime itself refuses, as `{error, reason, requestId}`, in the interceptor's shape; without a request ID
    where the request had none, or where its head was not read."""
    body = {"error": text, "reason": REFUSALS[status]}
    request_id = getattr(request, "headers", {}).get("x-request-id")
    return error_answer(status, body if request_id is None else body | {"requestId": request_id}, headers)


def error_answer(status, body, headers=()):
    import json

    return Answer(status, [(b"content-type", JSON.encode()), *headers], json.dumps(body).encode())


def read_status(value):
    status = int(value) if isinstance(value, str) and len(value) == 3 and value.isdigit() else value
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599:
        return int(status)
    raise AnswerError(f"statusCode must be a whole number from 200 to 599, not {value!r}")


def answer_headers(value):
    headers = read_headers(value.get("headers"))
    many = read_headers(value.get("multiValueHeaders"))
    if many:
        replaced = {name for name, _ in many}
        headers = [one for one in headers if one[0] not in replaced] + many
    cookies = value.get("cookies") or ()
    if not isinstance(cookies, (list, tuple)):
        raise AnswerError("cookies must be a list of strings")
    return headers + [header("set-cookie", one) for one in cookies]


def read_headers(given):
    """From a dict, or whatever else has items, or a list of pairs."""
    if given is None:
        return []
    pairs = given.items() if hasattr(given, "items") else given
    if not hasattr(given, "items") and not is_pairs(given):
        raise AnswerError("headers must be a dict, or pairs of name and value")
    headers = []
    for name, value in pairs:
        key = str(name).lower()
        if key in FRAMING or value is None:
            continue
        for one in value if isinstance(value, (list, tuple)) else (value,):
            headers.append(header(key, one))
    return headers


def is_pairs(given):
    if not isinstance(given, (list, tuple)):
        return False
    return all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in given)


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
    from .values import encode_json

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
