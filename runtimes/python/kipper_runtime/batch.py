"""Runs the handler once, for a schedule or a test run, and returns the exit code: 0 when it succeeded."""

from .answer import is_stream, to_answer
from .event import Context
from .log import log, message_of, describe, write


def run(handler, config):
    try:
        result = handler.call(None, Context(trigger=config.trigger))
        if is_awaitable(result) or hasattr(type(result), "__aiter__"):
            import asyncio

            result = asyncio.run(settle(result))
        elif is_stream(result):
            for _ in result:  # a generator does its work while it is read
                pass
        if isinstance(result, dict) and "statusCode" in result:
            # One handler may serve several triggers, so an answer that reports a failure fails the run as well.
            if to_answer(result, 200).status >= 400:
                log(f"the run failed: the handler answered {result['statusCode']}")
                return 1
    except SystemExit as stop:
        return exit_code(stop)
    except BaseException as error:
        write(f"kipper: the run failed: {message_of(error)}\n{describe(error)}")
        return 1
    return 0


def is_awaitable(value):
    return hasattr(type(value), "__await__")


async def settle(result):
    if is_awaitable(result):
        result = await result
    if hasattr(type(result), "__aiter__"):
        async for _ in result:
            pass
        return None
    return result


def exit_code(stop):
    """`sys.exit()` in a handler means what it means in a script."""
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    write(f"{stop.code}\n")
    return 1
