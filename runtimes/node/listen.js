'use strict';
// Binds the port. Called when the handler is loaded, because listening means ready, and before the rest of the server
// is: the first connection waits in the kernel for the few milliseconds that takes, and whoever looks for the port
// has found it.

const http = require('node:http');
const { isIP } = require('node:net');
const { MAX_HEAD_BYTES } = require('./refusal');

const HEAD_MS = 60_000;
const REQUEST_MS = 300_000;

/** A server that listens soon or emits `error`; neither before the caller returns to the event loop. */
function listen({ port, host, keepAliveMs, maxConnections }) {
  const server = http.createServer({
    maxHeaderSize: MAX_HEAD_BYTES,
    headersTimeout: HEAD_MS,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: keepAliveMs,
  });
  server.maxHeadersCount = 0; // the size of the head bounds them; Node would drop the surplus in silence
  server.maxConnections = maxConnections;
  // `listen` loads `dns`, for an address as well, and `cluster`: a tenth of a start. It ends in a call of `_listen2`,
  // which binds at once, and which Node leaves under that name for those who wrap it.
  const family = isIP(host);
  if (family !== 0 && typeof server._listen2 === 'function') server._listen2(host, port, family);
  else server.listen({ port, host });
  return server;
}

module.exports = { listen };
