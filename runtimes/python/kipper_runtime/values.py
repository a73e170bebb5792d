"""A handler's value as JSON. What rows from a database and ordinary classes hold beyond JSON becomes the obvious value,
anything else an error that names the type and the place. Pure."""

import json

from .error import AnswerError
from .log import safe_text

MOST_DEPTH = 100


def encode_json(value):
    try:
        return ENCODER.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        found = locate(value, "", 0)
        raise AnswerError(f"the answer cannot be written as JSON: {found or safe_text(error)}") from None


def plain(value):
    """Dates and times as ISO 8601, exact numbers and ids as text, sets as arrays, records as objects."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    kind = type(value)
    if kind.__name__ in ("Decimal", "UUID"):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return in_order(value)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in kind.__dataclass_fields__}
    if hasattr(kind, "__members__"):
        return value.value
    if hasattr(value, "keys") and hasattr(kind, "__getitem__"):
        return {key: value[key] for key in value.keys()}
    raise TypeError(f"{article(kind.__name__)} is not a JSON value")


def in_order(values):
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def article(name):
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def locate(value, place, depth):
    """The first thing in `value` that has no JSON, and where it is; None when it is not to be found that easily."""
    if depth > MOST_DEPTH or value is None or isinstance(value, (str, int)):
        return None
    at = f" at {place}" if place else ""
    if isinstance(value, float):
        return None if value - value == 0 else f"{value}{at}"
    if isinstance(value, dict):
        return locate_in_dict(value, place, at, depth)
    if isinstance(value, (list, tuple)):
        inner = (locate(one, f"{place}[{index}]", depth + 1) for index, one in enumerate(value))
        return next((found for found in inner if found), None)
    try:
        return locate(plain(value), place, depth + 1)
    except TypeError:
        return article(type(value).__name__) + at


def locate_in_dict(value, place, at, depth):
    for key, one in value.items():
        if not isinstance(key, (str, int, float, type(None))):
            return f"{article(type(key).__name__)} as a key{at}"
        found = locate(one, f"{place}.{key}", depth + 1)
        if found:
            return found
    return None


ENCODER = json.JSONEncoder(default=plain, allow_nan=False, separators=(",", ":"))
