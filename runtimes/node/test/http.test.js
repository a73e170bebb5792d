'use strict';
// What the conformance table cannot say: requests that are not built by a client library, and what is on stderr.
const assert = require('node:assert/strict');
const http = require('node:http');
const { once } = require('node:events');
const { gzipSync } = require('node:zlib');
const { test } = require('node:test');
const net = require('node:net');
const { shown } = require('../requestlog');
const { raw, start } = require('./harness');

test('an absolute target', async (t) => {
  const run = await start(t, 'module.exports = (event, { path, query }) => ({ path, query })');
  assert.match(await raw(run.port, 'GET http://example.com/p?q=1 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n'),
    /\{"path":"\/p","query":\{"q":"1"\}\}$/);
});

test('every record on stderr is one line, and the process stays', async (t) => {
  const run = await start(t, `module.exports = async (event, { path }) => {
    if (path === '/throw') throw new Error('two\\nlines');
    if (path === '/later') { setTimeout(() => { throw new Error('after the answer') }); return 'ok' }
    if (path === '/reject') { Promise.reject(new Error('nobody waits')); return 'ok' }
    return 'alive' }`);
  await run.get('/throw?secret=1');
  await run.sees(/^kipper: GET \/throw failed: Error: two \| lines \| at .*index\.js:2:\d+.*\n/m);
  await run.get('/later');
  await run.sees(/^kipper: uncaught exception: Error: after the answer \| at .*\n/m);
  await run.get('/reject');
  await run.sees(/^kipper: unhandled rejection: Error: nobody waits \| at .*\n/m);
  assert.equal((await run.get('/')).text, 'alive');
  assert.ok(run.stderr.split('\n').every((line) => line === '' || line.startsWith('kipper: ')), run.stderr);
});

test('a fetched Response is readable: its body is decoded, so its header goes', async (t) => {
  const origin = http.createServer((request, response) => {
    const encoding = request.url.slice(1);
    response.writeHead(200, { 'content-encoding': encoding, 'x-origin': 'o' });
    response.end(encoding === 'gzip' ? gzipSync('readable') : 'coded');
  }).listen(0, '127.0.0.1');
  t.after(() => origin.close());
  await once(origin, 'listening');
  const run = await start(t, `module.exports = (event, { path }) => fetch('http://127.0.0.1:${origin.address().port}' + path)`);
  const decoded = await run.get('/gzip');
  assert.deepEqual([decoded.text, decoded.headers['content-encoding'], decoded.headers['x-origin']], ['readable', undefined, 'o']);
  const kept = await run.get('/rot13');
  assert.deepEqual([kept.text, kept.headers['content-encoding']], ['coded', 'rot13'], 'one that fetch does not know');
});

test('what a line of the log quotes is one line with an end', () => {
  for (const [text, expected] of [
    ['/orders', '/orders'],
    ['/a\nb\u001b[2J', '/a\\x0ab\\x1b[2J'],
    ['/gr\u00fc\u00df', '/gr\\xfc\\xdf'],
    [`/${'x'.repeat(20)}`, `/${'x'.repeat(9)}…`],
  ]) assert.equal(shown(text, 10), expected);
});

test('readiness has one line, and a client that leaves is told', async (t) => {
  const run = await start(t, `module.exports = (event, { path }) => new Promise((done) => {
    console.log('working on', path);
    if (path !== '/left') done('ok');
  })`, { KIPPER_LOG_REQUESTS: 'true', KIPPER_DRAIN_SECONDS: '0' });
  for (let at = 0; at < 3; at += 1) await run.get('/health');
  const socket = net.connect(run.port, '127.0.0.1');
  socket.write('GET /left HTTP/1.1\r\nHost: x\r\n\r\n');
  await run.sees(/^working on \/left$/m);
  socket.destroy();
  await run.sees(/^kipper: request GET \/left - \d+ ms cold \d+ MiB, cut off$/m);
  await run.get('/after');
  await run.sees(/^kipper: request GET \/after 200 \d+ ms warm \d+ MiB$/m);
  assert.equal(run.stdout.match(/^kipper: readiness /gm).length, 1, run.stdout);
});
