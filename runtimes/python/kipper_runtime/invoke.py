"""Calls the handler for one request and hands its answer to the connection: sync handlers on a worker thread, async
ones as a task on the loop. Whatever the handler does, the caller gets an answer and the process stays."""

import threading

from .answer import AnswerError, error_answer, to_answer
from .event import BadRequest, build_context, build_event
from .log import log


def arguments(request, trigger):
    context = build_context(request, trigger)
    return build_event(request.body, context), context


def empty_status(request):
    """An event is done with 200; an ordinary request without an answer has no content."""
    return 200 if request.method == "POST" and request.target.partition("?")[0] == "/event" else 204


def failure(request, error):
    where = f"{request.method} {request.target.partition('?')[0]}"
    if isinstance(error, BadRequest):
        return error_answer(400, str(error))
    if isinstance(error, AnswerError):
        log(f"bad answer to {where}: {error}")
    else:
        log(f"{where} failed", error)
    return error_answer(500, str(error) or type(error).__name__)


def chunk_bytes(chunk):
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise AnswerError(f"a body stream must give text or bytes, not {type(chunk).__name__}")


def run_sync(server, request, connection):
    post = server.loop.call_soon_threadsafe
    try:
        value = server.handler.call(*arguments(request, server.config.trigger))
        if hasattr(type(value), "__await__"):
            value = server.background().run(value)
        answer = to_answer(value, empty_status(request))
    except BaseException as error:  # sys.exit() in a handler must not take a worker along
        answer = failure(request, error)
    if answer.stream:
        stream_sync(server, request, connection, answer)
    else:
        post(connection.respond, answer)


def stream_sync(server, request, connection, answer):
    """Chunk by chunk: the next one is asked for when the connection has room for it."""
    post, room, wanted = server.loop.call_soon_threadsafe, threading.Event(), []
    body = answer.body if hasattr(type(answer.body), "__next__") else server.background().iterate(answer.body)

    def start():
        wanted.append(connection.start_stream(answer))
        room.set()

    post(start)
    room.wait()
    try:
        for chunk in body if wanted[0] else ():
            data = chunk_bytes(chunk)
            if connection.lost:
                break
            if data:
                room.clear()
                post(connection.write_chunk, data, room.set)
                room.wait()
        ending = connection.end_stream
    except BaseException as error:
        failure(request, error)
        ending = connection.abort_stream
    try:
        getattr(body, "close", lambda: None)()
    except BaseException as error:
        failure(request, error)
    post(ending)


async def run_async(server, request, connection):
    try:
        value = server.handler.call(*arguments(request, server.config.trigger))
        if hasattr(type(value), "__await__"):
            value = await value
        answer = to_answer(value, empty_status(request))
    except BaseException as error:
        answer = failure(request, error)
    if answer.stream:
        await stream_async(server, request, connection, answer)
    else:
        connection.respond(answer)


async def stream_async(server, request, connection, answer):
    body = answer.body if hasattr(type(answer.body), "__aiter__") else in_threads(server.loop, answer.body)
    try:
        if connection.start_stream(answer):
            async for chunk in body:
                data = chunk_bytes(chunk)
                if connection.lost:
                    break
                if data:
                    room = server.loop.create_future()
                    connection.write_chunk(data, lambda room=room: room.done() or room.set_result(None))
                    await room
        ending = connection.end_stream
    except BaseException as error:
        failure(request, error)
        ending = connection.abort_stream
    try:
        if hasattr(body, "aclose"):
            await body.aclose()
    except BaseException as error:
        failure(request, error)
    ending()


async def in_threads(loop, iterator):
    """A sync generator's steps may block, so they are taken on a thread."""
    end = object()
    try:
        while (chunk := await loop.run_in_executor(None, next, iterator, end)) is not end:
            yield chunk
    finally:
        if hasattr(iterator, "close"):
            await loop.run_in_executor(None, iterator.close)


class Background:
    """An asyncio loop on a thread, for the sync function that turns out to return something to await."""

    def __init__(self):
        import asyncio

        self._asyncio = asyncio
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="kipper-asyncio", daemon=True).start()

    def run(self, awaitable):
        async def settle():
            return await awaitable

        return self._asyncio.run_coroutine_threadsafe(settle(), self._loop).result()

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
