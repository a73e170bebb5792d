"""JSON numbers that a float cannot hold arrive as text with all their digits, never as another number. Pure. Whole
numbers are exact in Python.

A float keeps 15 significant digits, so a text without a long run of digits or a three-digit exponent has no such
number: that is one pass of a regular expression. Only for what it catches is each number looked at.
"""

import json
import re

SUSPECT = re.compile(r"[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}")
PARTS = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
# Beyond it Python refuses to make a number of a text, because that takes quadratic time.
MOST_DIGITS = 4_300


def parse_exact(text):
    return (EXACT if SUSPECT.search(text) else PLAIN).decode(text)


def refuse_constant(name):
    raise ValueError(f"{name} is not a JSON value")


def exact_float(token):
    number = float(token)
    return number if canonical(token) == canonical(repr(number)) else token


def exact_int(token):
    return int(token) if len(token) <= MOST_DIGITS else token


def canonical(token):
    """The significant digits and the power of ten of the last one; None for infinity."""
    parts = PARTS.fullmatch(token)
    if parts is None or len(parts[3] or "") > MOST_DIGITS:
        return None
    fraction = parts[2] or ""
    digits = (parts[1] + fraction).lstrip("0")
    short = digits.rstrip("0")
    return (short, int(parts[3] or 0) - len(fraction) + len(digits) - len(short)) if short else ("0", 0)


PLAIN = json.JSONDecoder(parse_constant=refuse_constant)
EXACT = json.JSONDecoder(parse_constant=refuse_constant, parse_float=exact_float, parse_int=exact_int)
