'use strict';
// What the runtime itself refuses, as `{ error, reason, requestId }`: the shape and, where both have one, the reasons of
// the interceptor's own answers. Requests that are not HTTP never reach a handler of requests and are answered here.

const MAX_HEAD_BYTES = 64 * 1024;
const JSON_HEAD = [['content-type', 'application/json']];
const REASONS = { 400: 'bad_request', 403: 'event_path', 408: 'request_timeout', 413: 'body_too_large', 431: 'headers_too_large', 503: 'overloaded' };
const PHRASES = { 400: 'Bad Request', 408: 'Request Timeout', 413: 'Content Too Large', 431: 'Request Header Fields Too Large' };
const PARSER_STATUS = { HPE_HEADER_OVERFLOW: 431, HPE_CHUNK_EXTENSIONS_OVERFLOW: 413, ERR_HTTP_REQUEST_TIMEOUT: 408 };
const PARSER_TEXT = { 408: 'the request did not arrive in time', 431: `the request's head is larger than ${MAX_HEAD_BYTES} bytes` };

/** The body; without a request ID where the request had none. */
function refusal(status, error, requestId) {
  return JSON.stringify({ error, reason: REASONS[status], requestId });
}

/** Answers what Node's parser refused, or closes where an answer is on its way already. */
function refuseUnread(error, socket, answering) {
  if (error.code === 'ECONNRESET' || !socket.writable || answering) return socket.destroy();
  const status = PARSER_STATUS[error.code] ?? 400;
  const body = refusal(status, PARSER_TEXT[status] ?? `the request is not valid HTTP: ${error.reason ?? error.message}`);
  const head = `HTTP/1.1 ${status} ${PHRASES[status]}\r\ncontent-type: application/json\r\n`
    + `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  socket.write(head + body);
  socket.destroySoon();
}

module.exports = { JSON_HEAD, MAX_HEAD_BYTES, refusal, refuseUnread };
