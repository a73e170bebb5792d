"""Where a function of one kind meets the other: awaitables that a sync handler returned, and blocking iterators that an
async one did."""

import threading

from .log import log


class Background:
    """An asyncio loop on a thread, for the sync function that turns out to return something to await."""

    def __init__(self):
        import asyncio

        self._asyncio = asyncio
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=run_for_good, args=(self._loop,), name="kipper-asyncio", daemon=True).start()

    def run(self, awaitable):
        async def settle():
            # Caught in here: asyncio lets SystemExit and KeyboardInterrupt out of a task, through the loop.
            try:
                value = await awaitable
                while hasattr(type(value), "__await__"):
                    value = await value
                return value, None
            except BaseException as error:
                return None, error

        value, error = self._asyncio.run_coroutine_threadsafe(settle(), self._loop).result()
        if error is not None:
            raise error
        return value

    def iterate(self, body):
        iterator = body.__aiter__()
        try:
            while True:
                try:
                    yield self.run(iterator.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            if hasattr(iterator, "aclose"):
                self.run(iterator.aclose())


def run_for_good(loop, stopped=lambda: False):
    """A task that the function itself started may raise SystemExit, which asyncio lets through; the loop goes on."""
    while not stopped():
        try:
            loop.run_forever()
            return
        except BaseException as error:
            log("a task of the function tried to end the process", error)


async def in_threads(loop, iterator):
    """A sync generator's steps may block, so they are taken on a thread."""
    end = object()

    def step():
        # SystemExit must not reach the thread's own loop, and StopIteration cannot pass a future.
        try:
            return next(iterator, end), None
        except BaseException as error:
            return None, error

    try:
        while True:
            chunk, error = await loop.run_in_executor(None, step)
            if error is not None:
                raise error
            if chunk is end:
                return
            yield chunk
    finally:
        if hasattr(iterator, "close"):
            await loop.run_in_executor(None, iterator.close)
