"""Turns a request into the handler's two arguments. Pure: no I/O, no clock."""


class BadRequest(Exception):
    """The caller sent something that cannot be an event; the message goes back with status 400."""


class Context(dict):
    """`context["method"]` and `context.method` are the same; `rawBody` is an attribute only, so that printing a
    context does not print the body."""

    __slots__ = ("rawBody",)

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the context has no {name}") from None


EVENT_TOKEN = "kipper-event-token"
FORM = "application/x-www-form-urlencoded"


def build_context(request, trigger):
    path, _, search = request.target.partition("?")
    request.headers.pop(EVENT_TOKEN, None)
    context = Context(
        method=request.method,
        path=path,
        query=pairs(search) if search else {},
        headers=request.headers,
        trigger=trigger,
        isBase64=False,
        requestId=request.headers.get("x-request-id"),
    )
    context.rawBody = request.body
    return context


def media_of(headers):
    """The media type, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(media):
    return media == "application/json" or media.endswith("+json")


def marks_of(headers):
    """The bytes of a body that may each become a value."""
    media = media_of(headers)
    if is_json(media):
        return b"[{,:"
    return b"&=" if media == FORM else b""


def build_event(body, content, context):
    """Returns the event and marks the context when it is bytes. `body` is what came, `content` the same without its
    content encoding, or None when nobody here can undo that."""
    if not body:
        return None
    if content is None:
        return as_base64(body, context)
    media = media_of(context.headers)
    if is_json(media):
        return parse_json(content) if content else None
    if media == FORM:
        return pairs(content.decode("utf-8", "replace"))
    if media.startswith("text/"):
        try:
            return content.decode(charset_of(context.headers["content-type"].split(";")[1:]), "replace")
        except (LookupError, UnicodeError):
            pass  # an unknown charset: the bytes are handed over as they are
    return as_base64(content, context)


def as_base64(content, context):
    import base64

    context["isBase64"] = True
    return base64.b64encode(content).decode("ascii")


def parse_json(body):
    from .exact import parse_exact

    try:
        return parse_exact(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def charset_of(parameters):
    for parameter in parameters:
        name, _, value = parameter.strip().lower().partition("=")
        if name == "charset":
            return value.replace('"', "") or "utf-8"
    return "utf-8"


def pairs(encoded):
    """name -> value, or a list of them where a name repeats."""
    from urllib.parse import parse_qsl

    found = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found
