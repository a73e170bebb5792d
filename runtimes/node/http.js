'use strict';
// The server: read a bounded request, call the handler, send its answer, drain on request.

const { AnswerError, toAnswer, isStream } = require('./answer');
const { ClientGone, NO_BODY, hasBody, inflate, readBody } = require('./body');
const { BadRequest, EVENT_TOKEN, splitTarget, buildContext, buildEvent, marksOf } = require('./event');
const { Refused } = require('./limits');
const { asError, log, messageOf } = require('./log');
const { JSON_HEAD, refusal, refuseUnread } = require('./refusal');
const { StallWatch } = require('./stall');

// How long the rest of a refused body is read and thrown away, so that the caller gets to see the refusal.
const LINGER_MS = 5_000;

/** Serves on a server of `listen`; resolves once the port is bound, with its address and the function that drains and exits. */
function serve(server, handler, config) {
  const state = { handler, config, draining: false, closed: false, running: 0, unused: new Set(), answers: new WeakMap(), server, requestLog: null };
  if (config.logRequests) state.requestLog = new (require('./requestlog').RequestLog)();
  const stalls = new StallWatch(config.writeMs);
  server.on('connection', (socket) => {
    state.unused.add(socket);
    stalls.add(socket);
    socket.once('close', () => {
      state.unused.delete(socket);
      stalls.remove(socket);
    });
  });
  server.on('request', (request, response) => accept(state, request, response));
  server.on('clientError', (error, socket) => {
    const answer = state.answers.get(socket);
    refuseUnread(error, socket, answer?.headersSent && !answer.writableFinished);
  });
  server.on('checkContinue', (request, response) => {
    const never = config.limits.refusal(Number(request.headers['content-length']));
    if (never === null && allowed(config, request)) response.writeContinue();
    accept(state, request, response);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject).once('listening', () => {
      const { address, family, port } = server.address();
      server.off('error', reject).on('error', (error) => log('server error', error));
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
  state.answers.set(request.socket, response);
  // A request outlives its client: its handler is part of what a drain waits for.
  let open = 2;
  const done = () => {
    open -= 1;
    if (open > 0) return;
    state.running -= 1;
    if (state.draining) setImmediate(() => finishDrain(state));
  };
  response.once('close', done);
  if (state.requestLog !== null) {
    const { path } = splitTarget(request.url);
    const kind = isReadiness(request, path) ? 'readiness' : isDelivery(request, path) ? 'event' : 'request';
    state.requestLog.begin(kind, request, response, path);
  }
  exchange(state, request, response).catch((error) => {
    if (!(error instanceof ClientGone)) log('request failed in the wrapper', error);
    response.destroy();
  }).then(done);
}

function isReadiness({ method }, path) {
  return path === '/health' && (method === 'GET' || method === 'HEAD');
}

function isDelivery(request, path) {
  return path === '/event' && request.method === 'POST';
}

/** Whether a delivery comes from whoever knows the token; any other request may come from anywhere. */
function allowed({ eventToken }, request) {
  if (eventToken === '' || !isDelivery(request, splitTarget(request.url).path)) return true;
  const given = Buffer.from(request.headers[EVENT_TOKEN] ?? '', 'latin1');
  const expected = Buffer.from(eventToken, 'utf8');
  return given.length === expected.length && require('node:crypto').timingSafeEqual(given, expected);
}

async function exchange(state, request, response) {
  const { path, search } = splitTarget(request.url);
  const { method } = request;
  if (isReadiness(request, path)) {
    return send(state, response, { status: 200, headers: [['content-type', 'text/plain']], body: 'ok\n' });
  }
  const { config } = state;
  const call = { method, path, delivery: isDelivery(request, path), requestId: request.headers['x-request-id'] };
  const hold = hasBody(request.headers) ? config.limits.hold(marksOf(request.headers)) : null;
  try {
    if (!allowed(config, request)) throw new Refused(403, `POST /event is for event deliveries, which carry ${EVENT_TOKEN}`);
    const context = buildContext(request, path, search, call.delivery ? config.trigger : config.requestTrigger);
    const body = hold === null ? NO_BODY : await readBody(request, hold);
    const content = context.headers['content-encoding'] === undefined || body.length === 0
      ? body : await inflate(body, context.headers, hold);
    const event = buildEvent(body, content, context);
    const answer = toAnswer(await state.handler(event, context), call.delivery ? 200 : 204);
    if (call.delivery && isStream(answer.body)) answer.body = await require('./stream').runToEnd(answer.body);
    await send(state, response, answer, call);
  } catch (error) {
    await answerFailure(state, request, response, call, asError(error));
  } finally {
    hold?.release();
  }
}

async function answerFailure(state, request, response, call, error) {
  if (error instanceof ClientGone) throw error;
  if (error instanceof Refused) return refuse(state, request, response, call, error);
  if (error instanceof BadRequest) return sendError(state, response, 400, refusal(400, error.message, call.requestId));
  const where = `${call.method} ${call.path}`;
  if (error instanceof AnswerError) log(`bad answer to ${where}: ${error.message}`);
  else log(`${where} failed`, error);
  if (response.headersSent) return response.destroy();
  // What an error says is for whoever runs the function; the caller gets what finds it in the log.
  const told = call.delivery || state.config.errorDetail ? messageOf(error) : 'the function failed';
  await sendError(state, response, 500, JSON.stringify({ error: told, requestId: call.requestId }));
}

async function send(state, response, answer, call) {
  const bodyless = answer.status === 204 || answer.status === 304 || response.req.method === 'HEAD';
  if (!isStream(answer.body)) {
    setHead(state, response, answer);
    if (answer.status !== 204 && answer.status !== 304) response.setHeader('content-length', Buffer.byteLength(answer.body));
    return void response.end(bodyless ? undefined : answer.body);
  }
  if (bodyless) {
    setHead(state, response, answer);
    await (answer.body[Symbol.asyncIterator]?.() ?? answer.body).return?.();
    return void response.end();
  }
  const { begin, pump } = require('./stream');
  const started = await begin(answer.body);
  setHead(state, response, answer);
  response.flushHeaders();
  const error = await pump(started, response);
  if (error === null) return;
  const where = `${call.method} ${call.path}`;
  if (error instanceof AnswerError) log(`bad answer to ${where}: ${error.message}`);
  else log(`${where} failed in its body stream`, error);
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

function sendError(state, response, status, body) {
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  return send(state, response, { status, headers: JSON_HEAD, body });
}

/** Answers before the body was read: closing with unread bytes would reset the connection under the answer. */
function refuse(state, request, response, { requestId }, { status, headers, message }) {
  const body = refusal(status, message, requestId);
  if (request.complete) {
    return send(state, response, { status, headers: [...JSON_HEAD, ...headers], body });
  }
  setHead(state, response, { status, headers: [...JSON_HEAD, ...headers] });
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
  state.server.close(() => {
    state.closed = true;
    finishDrain(state);
  });
  // Node counts a connection that never carried a request as busy.
  for (const socket of state.unused) if (socket.bytesRead === 0) socket.destroy();
  finishDrain(state);
  setTimeout(() => {
    log(`drain deadline reached, ${state.running} requests cut off`);
    process.exit(0);
  }, state.config.drainMs);
}

function finishDrain(state) {
  state.server.closeIdleConnections();
  if (state.closed && state.running === 0) process.exit(0);
}

module.exports = { serve };
