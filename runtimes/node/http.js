'use strict';
// The server: read a bounded request, call the handler, send its answer, drain on request. Listening means ready:
// the handler is loaded before the port is bound.

const http = require('node:http');
const { AnswerError, toAnswer, isStream } = require('./answer');
const { BadRequest, splitTarget, buildContext, buildEvent } = require('./event');
const { log, messageOf } = require('./log');

const MAX_HEAD_BYTES = 64 * 1024;
const HEAD_MS = 60_000;
const REQUEST_MS = 300_000;
// How long the rest of a refused body is read and thrown away, so that the caller gets to see the refusal.
const LINGER_MS = 5_000;
const NO_BODY = Buffer.alloc(0);

class TooLarge extends Error {}
class ClientGone extends Error {}

/** Resolves once the port is bound, with its address and the function that drains and exits. */
function serve(handler, config) {
  const state = { handler, config, draining: false, running: 0, unused: new Set(), server: null };
  state.server = http.createServer({
    maxHeaderSize: MAX_HEAD_BYTES,
    headersTimeout: HEAD_MS,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: config.keepAliveMs,
  });
  state.server.maxHeadersCount = 0; // the size of the head bounds them; Node would drop the surplus in silence
  state.server.maxConnections = config.maxConnections;
  state.server.on('connection', (socket) => {
    state.unused.add(socket);
    socket.once('close', () => state.unused.delete(socket));
  });
  state.server.on('request', (request, response) => accept(state, request, response));
  state.server.on('checkContinue', (request, response) => {
    if (!(Number(request.headers['content-length']) > config.maxBody)) response.writeContinue();
    accept(state, request, response);
  });
  return new Promise((resolve, reject) => {
    state.server.once('error', reject);
    state.server.listen({ port: config.port, host: config.host }, () => {
      const { address, family, port } = state.server.address();
      state.server.off('error', reject).on('error', (error) => log('server error', error));
      resolve({
        address: `${family === 'IPv6' ? `[${address}]` : address}:${port}`,
        drain: () => drain(state),
      });
    });
  });
}

function accept(state, request, response) {
  state.running += 1;
  state.unused.delete(request.socket);
  response.once('close', () => {
    state.running -= 1;
    if (state.draining) setImmediate(() => state.server.closeIdleConnections());
  });
  exchange(state, request, response).catch((error) => {
    if (!(error instanceof ClientGone)) log('request failed in the wrapper', error);
    response.destroy();
  });
}

async function exchange(state, request, response) {
  const { path, search } = splitTarget(request.url);
  const { method } = request;
  if (path === '/health' && (method === 'GET' || method === 'HEAD')) {
    return send(state, response, { status: 200, headers: new Map([['content-type', 'text/plain']]), body: 'ok\n' });
  }
  const where = `${method} ${path}`;
  const emptyStatus = method === 'POST' && path === '/event' ? 200 : 204;
  const context = buildContext(request, path, search, state.config.trigger);
  try {
    const event = buildEvent(await readBody(request, state.config.maxBody), context);
    await send(state, response, toAnswer(await state.handler(event, context), emptyStatus), where);
  } catch (error) {
    if (error instanceof ClientGone) throw error;
    if (error instanceof TooLarge) return refuse(state, request, response, error);
    if (error instanceof BadRequest) return sendError(state, response, 400, error.message);
    if (error instanceof AnswerError) log(`bad answer to ${where}: ${error.message}`);
    else log(`${where} failed`, error);
    if (response.headersSent) return response.destroy();
    await sendError(state, response, 500, messageOf(error));
  }
}

function readBody(request, limit) {
  const declared = request.headers['content-length'];
  if (request.headers['transfer-encoding'] === undefined && (declared === undefined || declared === '0')) return NO_BODY;
  return new Promise((resolve, reject) => {
    const tooLarge = () => reject(new TooLarge(`the body is larger than ${limit} bytes (KIPPER_MAX_BODY)`));
    if (Number(declared) > limit) return tooLarge();
    const chunks = [];
    let size = 0;
    const take = (chunk) => {
      size += chunk.length;
      if (size <= limit) return chunks.push(chunk);
      request.off('data', take).pause();
      tooLarge();
    };
    request.on('data', take);
    request.once('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size)));
    request.once('error', () => reject(new ClientGone()));
    request.once('close', () => reject(new ClientGone()));
  });
}

async function send(state, response, answer, where) {
  setHead(state, response, answer);
  const bodyless = answer.status === 204 || answer.status === 304 || response.req.method === 'HEAD';
  if (!isStream(answer.body)) {
    if (answer.status !== 204 && answer.status !== 304) response.setHeader('content-length', Buffer.byteLength(answer.body));
    return void response.end(bodyless ? undefined : answer.body);
  }
  if (bodyless) {
    await answer.body[Symbol.asyncIterator]().return?.();
    return void response.end();
  }
  response.flushHeaders();
  const { pipeline, Readable } = require('node:stream');
  const source = answer.body instanceof Readable ? answer.body : Readable.from(answer.body, { objectMode: true });
  await new Promise((resolve) => {
    pipeline(source, response, (error) => {
      // A body cut short must look cut short: the connection is gone, the chunked ending was never sent.
      if (error && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') log(`${where} failed in its body stream`, error);
      resolve();
    });
  });
}

/** Node checks every name and value here, before a byte is sent. */
function setHead(state, response, answer) {
  try {
    for (const [name, value] of answer.headers) response.setHeader(name, value);
  } catch (error) {
    throw new AnswerError(error.message);
  }
  response.statusCode = answer.status;
  if (state.draining) response.setHeader('connection', 'close');
}

function sendError(state, response, status, message) {
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const headers = new Map([['content-type', 'application/json']]);
  return send(state, response, { status, headers, body: JSON.stringify({ error: message }) });
}

/** Answers before the body was read: closing with unread bytes would reset the connection under the answer. */
function refuse(state, request, response, error) {
  const body = JSON.stringify({ error: error.message });
  setHead(state, response, { status: 413, headers: new Map([['content-type', 'application/json']]) });
  response.setHeader('connection', 'close');
  response.setHeader('content-length', Buffer.byteLength(body));
  response.write(body);
  const finish = () => response.end();
  const timer = setTimeout(finish, LINGER_MS);
  request.once('end', finish).once('error', finish).resume();
  response.once('close', () => clearTimeout(timer));
}

/** Stops accepting, lets running requests finish within the bound, exits. A second signal does not wait. */
function drain(state) {
  if (state.draining) process.exit(1);
  state.draining = true;
  log(`draining, ${state.running} running`);
  state.server.close(() => process.exit(0));
  state.server.closeIdleConnections();
  // Node counts a connection that never carried a request as busy.
  for (const socket of state.unused) if (socket.bytesRead === 0) socket.destroy();
  setTimeout(() => {
    log(`drain deadline reached, ${state.running} requests cut off`);
    process.exit(0);
  }, state.config.drainMs);
}

module.exports = { serve };
