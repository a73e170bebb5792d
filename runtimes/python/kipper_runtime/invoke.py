"""Calls the handler for one request and hands its answer to the connection: sync handlers on a worker thread, async
ones as a task on the loop. Whatever the handler does, the caller gets an answer and the process stays.

The first chunk of a streamed body is awaited before the head is sent, so that what fails at once is a 500. An event's
body is run to its end before the status is sent, because the status marks the event.
"""

import threading

from .answer import error_answer, refusal, to_answer
from .background import in_threads
from .connection import bodyless
from .error import AnswerError
from .event import BadRequest, build_context, build_event
from .limits import Refused
from .log import log, text_of

# What is kept of an event's streamed answer; nobody reads more than the beginning.
MAX_EVENT_ANSWER = 16 * 1024
END = object()


def is_delivery(request):
    return request.method == "POST" and request.target.partition("?")[0] == "/event"


def arguments(server, request):
    config = server.config
    content = request.body
    if content and "content-encoding" in request.headers:
        from .inflate import inflate

        content = inflate(request)
    context = build_context(request, config.trigger if is_delivery(request) else config.request_trigger)
    return build_event(request.body, content, context), context


def answer_of(value, request):
    """An event is done with 200; an ordinary request without an answer has no content."""
    return to_answer(value, 200 if is_delivery(request) else 204)


def failure(server, request, error):
    where = f"{request.method} {request.target.partition('?')[0]}"
    if isinstance(error, BadRequest):
        return refusal(400, str(error), request)
    if isinstance(error, Refused):
        return refusal(error.status, str(error), request, error.headers)
    if isinstance(error, AnswerError):
        log(f"bad answer to {where}: {error}")
    else:
        log(f"{where} failed", error)
    # What an exception says is for whoever runs the function; the caller gets what finds it in the log.
    told = text_of(error) if is_delivery(request) or server.config.error_detail else "the function failed"
    request_id = request.headers.get("x-request-id")
    return error_answer(500, {"error": told} if request_id is None else {"error": told, "requestId": request_id})


def chunk_bytes(chunk):
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise AnswerError(f"a body stream must give text or bytes, not {type(chunk).__name__}")


class Kept:
    """The beginning of an event's streamed answer."""

    def __init__(self):
        self.data = bytearray()

    def add(self, chunk):
        self.data += chunk_bytes(chunk)[: MAX_EVENT_ANSWER - len(self.data)]

    def put_into(self, answer):
        answer.body, answer.stream = bytes(self.data), False


def run_sync(server, request, connection):
    chunks = first = None
    try:
        value = server.handler.call(*arguments(server, request))
        if hasattr(type(value), "__await__"):
            value = server.background().run(value)
        answer = answer_of(value, request)
        if answer.stream:
            chunks = answer.body if hasattr(type(answer.body), "__next__") else server.background().iterate(answer.body)
            if is_delivery(request):
                kept = Kept()
                for chunk in chunks:
                    kept.add(chunk)
                kept.put_into(answer)
            elif not bodyless(answer, request):
                first = next(chunks, END)
                first = first if first is END else chunk_bytes(first)
    except BaseException as error:  # sys.exit() in a handler must not take a worker along
        close(server, request, chunks)
        answer = failure(server, request, error)
    if answer.stream:
        stream_sync(server, request, connection, answer, chunks, first)
    else:
        server.loop.call_soon_threadsafe(connection.respond, answer)


def stream_sync(server, request, connection, answer, chunks, data):
    """Chunk by chunk: the next one is asked for when the connection has room for it."""
    post, room, wanted = server.loop.call_soon_threadsafe, threading.Event(), []

    def start():
        wanted.append(connection.start_stream(answer))
        room.set()

    post(start)
    room.wait()
    try:
        while wanted[0] and data is not END and not connection.lost:
            if data:
                room.clear()
                post(connection.write_chunk, data, room.set)
                room.wait()
            data = next(chunks, END)
            data = data if data is END else chunk_bytes(data)
        ending = connection.end_stream
    except BaseException as error:
        failure(server, request, error)
        ending = connection.abort_stream
    close(server, request, chunks)
    post(ending)


def close(server, request, chunks):
    try:
        getattr(chunks, "close", lambda: None)()
    except BaseException as error:
        failure(server, request, error)


async def run_async(server, request, connection):
    chunks = first = None
    try:
        value = server.handler.call(*arguments(server, request))
        while hasattr(type(value), "__await__"):
            value = await value
        answer = answer_of(value, request)
        if answer.stream:
            body = answer.body
            chunks = body.__aiter__() if hasattr(type(body), "__aiter__") else in_threads(server.loop, body)
            if is_delivery(request):
                kept = Kept()
                async for chunk in chunks:
                    kept.add(chunk)
                kept.put_into(answer)
            elif not bodyless(answer, request):
                first = await anext(chunks, END)
                first = first if first is END else chunk_bytes(first)
    except BaseException as error:
        await aclose(server, request, chunks)
        answer = failure(server, request, error)
    if answer.stream:
        await stream_async(server, request, connection, answer, chunks, first)
    else:
        connection.respond(answer)


async def stream_async(server, request, connection, answer, chunks, data):
    try:
        wanted = connection.start_stream(answer)
        while wanted and data is not END and not connection.lost:
            if data:
                room = server.loop.create_future()
                connection.write_chunk(data, lambda room=room: room.done() or room.set_result(None))
                await room
            data = await anext(chunks, END)
            data = data if data is END else chunk_bytes(data)
        ending = connection.end_stream
    except BaseException as error:
        failure(server, request, error)
        ending = connection.abort_stream
    await aclose(server, request, chunks)
    ending()


async def aclose(server, request, chunks):
    try:
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
    except BaseException as error:
        failure(server, request, error)
