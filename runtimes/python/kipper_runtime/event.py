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


def build_context(request, trigger):
    path, _, search = request.target.partition("?")
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


def build_event(body, context):
    """Returns the event and marks the context when it is bytes."""
    if not body:
        return None
    media, *parameters = context.headers.get("content-type", "").split(";")
    media = media.strip().lower()
    if media == "application/json" or media.endswith("+json"):
        return parse_json(body)
    if media == "application/x-www-form-urlencoded":
        return pairs(body.decode("utf-8", "replace"))
    if media.startswith("text/"):
        try:
            return body.decode(charset_of(parameters), "replace")
        except (LookupError, UnicodeError):
            pass  # an unknown charset: the bytes are handed over as they are
    import base64

    context["isBase64"] = True
    return base64.b64encode(body).decode("ascii")


def parse_json(body):
    import json

    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def refuse_constant(name):
    raise ValueError(f"{name} is not a JSON value")


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
