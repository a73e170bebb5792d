'use strict';
// A client that does not read its answer is cut off: what waits in a socket must move at a least rate.

const { log } = require('./log');

const SWEEP_MS = 1_000;
// Counted over a whole period (KIPPER_WRITE_SECONDS), because a slow reader takes its bytes in bursts.
const LEAST_BYTES_PER_SECOND = 256;

class StallWatch {
  constructor(periodMs) {
    this.periodMs = periodMs;
    this.sockets = new Map(); // socket -> { since, taken } while something waits in it, null while nothing does
    this.timer = null;
  }

  add(socket) {
    this.sockets.set(socket, null);
    this.timer ??= setInterval(() => this.sweep(performance.now()), SWEEP_MS).unref();
  }

  remove(socket) {
    this.sockets.delete(socket);
    if (this.sockets.size > 0) return;
    clearInterval(this.timer);
    this.timer = null;
  }

  sweep(now) {
    for (const [socket, mark] of this.sockets) {
      const state = this.judge(socket, mark, now);
      if (state !== mark) this.sockets.set(socket, state);
    }
  }

  judge(socket, mark, now) {
    if (socket.writableLength === 0) return null;
    const taken = takenBy(socket);
    if (mark === null) return { since: now, taken };
    if (now - mark.since < this.periodMs) return mark;
    if (taken - mark.taken >= LEAST_BYTES_PER_SECOND * this.periodMs / 1_000) return { since: now, taken };
    log(`connection closed: its client did not read its answer for ${this.periodMs / 1_000} s (KIPPER_WRITE_SECONDS)`);
    socket.destroy();
    return null;
  }
}

/** The bytes that the kernel took: one large write stays in libuv's queue, of which the public counters know nothing. */
function takenBy(socket) {
  return (socket._bytesDispatched ?? socket.bytesWritten) - (socket._handle?.writeQueueSize ?? 0);
}

module.exports = { StallWatch };
