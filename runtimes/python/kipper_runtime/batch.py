"""Runs the handler once, for a schedule or a test run, and returns the exit code: 0 when it succeeded."""

from .answer import from_pair, is_stream, status_of, to_answer
from .event import Context
from .log import log, message_of, describe, write


def run(handler, config):
    try:
        result = handler.call(None, Context(trigger=config.trigger))
        if is_awaitable(result) or hasattr(type(result), "__aiter__"):
            import asyncio

            result = asyncio.run(settle(result))
        if type(result) is tuple:
            result = from_pair(result)
        if isinstance(result, BaseException):
            raise result
        status = status_of(result)
        body = result if status is None else result.get("body")
        if hasattr(type(body), "__aiter__"):
            import asyncio

            asyncio.run(settle(body))
        elif is_stream(body):
            for _ in body:  # a generator does its work while it is read
                pass
        # One handler may serve several triggers, so an answer that reports a failure fails the run as well.
        if status is not None and to_answer({"statusCode": status}, 200).status >= 400:
            log(f"the run failed: the handler answered {status}")
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
    while is_awaitable(result):
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
