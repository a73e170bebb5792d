'use strict';
// Bodies that are made step by step. The first chunk is awaited before the head is sent, so that what fails at once
// is a 500; an event's body is run to its end before the status is sent, because the status marks the event.

const { AnswerError } = require('./json');
const { asError, messageOf } = require('./log');

// What is kept of an event's streamed answer; nobody reads more than the beginning.
const MAX_EVENT_ANSWER = 16 * 1024;

/** A body's iterator with its first step taken. */
async function begin(body) {
  const iterator = body[Symbol.asyncIterator]?.() ?? body[Symbol.iterator]();
  const stream = new Started(iterator);
  stream.first = await stream.step();
  return stream;
}

class Started {
  first = null;
  failure = null; // what the handler's side failed of; a client that leaves is no failure

  constructor(iterator) {
    this.iterator = iterator;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async step() {
    try {
      const step = await this.iterator.next();
      if (!step.done) checkChunk(step.value);
      return step;
    } catch (thrown) {
      const error = asError(thrown);
      this.failure = error instanceof Error ? error : new Error(messageOf(error));
      if (error instanceof AnswerError) await this.return();
      throw this.failure;
    }
  }

  async next() {
    const step = this.first ?? await this.step();
    this.first = null;
    return step;
  }

  async return() {
    await this.iterator.return?.();
    return { done: true, value: undefined };
  }
}

function checkChunk(chunk) {
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return;
  throw new AnswerError(`a body stream must give text or bytes, not ${typeName(chunk)}`);
}

function typeName(value) {
  if (typeof value !== 'object' || value === null) return String(value === null ? value : typeof value);
  return value.constructor?.name || 'object';
}

/** Runs a body to its end; returns the beginning of it. */
async function runToEnd(body) {
  const kept = [];
  let size = 0;
  for await (const chunk of await begin(body)) {
    const bytes = Buffer.from(chunk).subarray(0, MAX_EVENT_ANSWER - size);
    size += bytes.length;
    if (bytes.length > 0) kept.push(bytes);
  }
  return Buffer.concat(kept, size);
}

/** Sends a started body; resolves when it is sent, or cut off, with what the handler's side failed of. */
function pump(started, response) {
  const { pipeline, Readable } = require('node:stream');
  // A body cut short must look cut short: the connection is gone, the chunked ending was never sent.
  return new Promise((resolve) => {
    pipeline(Readable.from(started, { objectMode: true }), response, () => resolve(started.failure));
  });
}

module.exports = { begin, pump, runToEnd };
