'use strict';
// How much memory request bodies may take, one and all together, derived from the container's memory limit.
//
// A body takes more memory than its bytes, the more the more values it holds. So each of its bytes costs BYTE_COST,
// and each that may begin a value (a mark, wherever it stands) MARK_COST besides. Measured with bodies of 1.4 to 4 MB:
// the peak of the process above what it was before, garbage included, as multiples of the body's bytes.
//
//                                     Python  Node  counted
//   [[],[],                               28    30       76
//   {"":0},{"":0},                        31    14       50
//   {"a":{}},{"a":{}},                    32    19       52
//   [[[[ 900 deep                         50    34       58
//   [0,0,                                  8    17       58
//   [1.5,1.5,                             14    16       31
//   objects of one distinct key each      31    28       31
//   one object of distinct short keys     26    33       31
//   orders of 20 fields                    6     7       17
//   a webhook of GitHub's                  5     7       12
//   a form of short names and values      37    22       31
//
// Distinct keys take 30 times their bytes in Node where its heap is tight. Counted too low are forms (one of names only
// takes 54 times, counted 31), numbers that a double cannot hold in Node (13, counted 10) and JSON or text with a
// character beyond U+FFFF in Python (9, counted 4 and more). There is room for them: a quarter of the memory limit is for
// bodies and what is made of them, the rest for the interpreter, the handler and garbage.

const fs = require('node:fs');

const BYTE_COST = 4;
const MARK_COST = 108;
const BODY_SHARE = 4;
const MOST_BODY = 32 * 1024 * 1024;
const MOST_BODY_MEMORY = 1024 * 1024 * 1024;
const LEAST_BODY_MEMORY = 8 * 1024 * 1024;
const RETRY_SECONDS = 1;
// cgroup v2, then v1. "max", or v1's number near 2^63, means no limit.
const LIMIT_FILES = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'];
const NO_LIMIT = 2 ** 50;

function containerMemory(files = LIMIT_FILES) {
  for (const file of files) {
    try {
      const bytes = Number(fs.readFileSync(file, 'utf8'));
      if (bytes > 0 && bytes < NO_LIMIT) return bytes;
    } catch {
      // Not this version of cgroups.
    }
  }
  return null;
}

/** Answered by the server itself, possibly before the body was read. */
class Refused extends Error {
  constructor(status, message, headers = []) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** The limits of one process. `maxBody` and `bodyMemory` are the settings, where they are set. */
class Limits {
  constructor({ maxBody, bodyMemory, memory }) {
    const share = memory ? Math.max(LEAST_BODY_MEMORY, Math.floor(memory / BODY_SHARE)) : MOST_BODY_MEMORY;
    this.memory = bodyMemory ?? Math.min(MOST_BODY_MEMORY, share);
    this.body = maxBody ?? MOST_BODY;
    this.held = 0;
  }

  /** Why a body of that many bytes can never be taken, or null; without its cost, by the least it can be. */
  refusal(size, cost = size * BYTE_COST) {
    if (size > this.body) return new Refused(413, `the body is larger than ${this.body} bytes (KIPPER_MAX_BODY)`);
    if (cost <= this.memory || Number.isNaN(cost)) return null;
    return new Refused(413, `the body takes more than the ${this.memory} bytes of memory for bodies (KIPPER_BODY_MEMORY)`);
  }

  toString() {
    return `bodies up to ${this.body} bytes (KIPPER_MAX_BODY) in ${this.memory} bytes of memory (KIPPER_BODY_MEMORY)`;
  }

  hold(marks) {
    return new Hold(this, marks);
  }
}

/** One request's share of the memory for bodies; `marks` is what `marksOf` says of its body. */
class Hold {
  constructor(limits, marks) {
    this.limits = limits;
    this.marks = marks;
    this.taken = 0;
  }

  /** Counts a piece of a body of `size` bytes so far; returns the refusal when it does not fit. */
  take(piece, size) {
    const { limits } = this;
    const cost = BYTE_COST * piece.length + (this.marks === null ? 0 : MARK_COST * count(this.marks, piece));
    const never = limits.refusal(size, this.taken + cost);
    if (never !== null) return never;
    if (limits.held + cost > limits.memory) {
      const retry = [['retry-after', String(RETRY_SECONDS)]];
      return new Refused(503, 'the memory for request bodies is in use (KIPPER_BODY_MEMORY)', retry);
    }
    limits.held += cost;
    this.taken += cost;
    return null;
  }

  release() {
    this.limits.held -= this.taken;
    this.taken = 0;
  }
}

function count(marks, piece) {
  let found = 0;
  for (let at = 0; at < piece.length; at += 1) found += marks[piece[at]];
  return found;
}

module.exports = { Limits, Refused, containerMemory };
