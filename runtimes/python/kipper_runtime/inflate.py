"""A body without its content encoding, within the limits of one body and of all of them. Imported only when needed."""

import zlib

from .event import BadRequest

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
RAW_DEFLATE = -15
PIECE = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"


def inflate(request):
    """None for an encoding that is not known here. Removes the header it undid."""
    encoding = request.headers["content-encoding"].strip().lower()
    if encoding in ("", "identity"):
        return request.body
    if encoding not in WINDOWS:
        return None
    del request.headers["content-encoding"]
    window = WINDOWS[encoding]
    # "deflate" is zlib's format by the book and raw in what some clients send; the first byte tells them apart.
    if encoding == "deflate" and request.body[0] & 0x0F != 8:
        window = RAW_DEFLATE
    hold, pieces, size = request.hold, [], 0
    try:
        for piece in unpack(request.body, window):
            size += len(piece)
            hold.take(piece, size)
            pieces.append(piece)
    except zlib.error as error:
        raise BadRequest(f"the body is not valid {encoding}: {error}") from None
    return b"".join(pieces)


def unpack(data, window):
    """In pieces of a bounded size; gzip may have several members, what follows them is ignored as gzip does."""
    while True:
        unpacker, at, ahead = zlib.decompressobj(window), 0, b""
        while not unpacker.eof:
            if not ahead:
                ahead = data[at : at + PIECE]
                at += len(ahead)
            piece = unpacker.decompress(ahead, PIECE)
            ahead = unpacker.unconsumed_tail
            if not piece and not ahead and at == len(data) and not unpacker.eof:
                raise zlib.error("unexpected end of file")
            yield piece
        data = unpacker.unused_data + data[at:]
        if window != WINDOWS["gzip"] or data[:2] != GZIP_MAGIC:
            return
