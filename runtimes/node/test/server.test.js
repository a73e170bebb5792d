'use strict';
const assert = require('node:assert/strict');
const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');
const { test } = require('node:test');
const { raw, request, start } = require('./harness');

const LENGTH = 'module.exports = async (event, { rawBody }) => ({ length: rawBody.length })';

test('large, chunked and announced bodies', async (t) => {
  const run = await start(t, LENGTH, { KIPPER_MAX_BODY: '1000000' });
  assert.equal((await run.post('/', Buffer.alloc(1_000_000))).json().length, 1_000_000);
  assert.equal((await run.post('/', ['a'.repeat(10), 'b'.repeat(20)])).json().length, 30, 'chunked');
  const tooLarge = '{"error":"the body is larger than 1000000 bytes (KIPPER_MAX_BODY)","reason":"body_too_large"}';
  for (const body of [Buffer.alloc(1_000_001), [Buffer.alloc(600_000), Buffer.alloc(600_000)]]) {
    const answer = await run.post('/', body);
    assert.deepEqual([answer.status, answer.text, answer.headers.connection], [413, tooLarge, 'close']);
  }
  assert.equal((await run.post('/', 'x')).json().length, 1, 'and it goes on');
});

test('Expect: 100-continue is granted, or refused before the body is sent', async (t) => {
  const run = await start(t, LENGTH, { KIPPER_MAX_BODY: '10' });
  const head = (length) => `POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`;
  const socket = net.connect(run.port, '127.0.0.1').setEncoding('latin1');
  socket.write(head(4));
  assert.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  socket.end('four');
  assert.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 200 OK\r\n[^]*\{"length":4\}$/);
  const refused = net.connect(run.port, '127.0.0.1').setEncoding('latin1');
  refused.write(head(11));
  assert.match((await once(refused, 'data'))[0], /^HTTP\/1\.1 413 /);
  refused.destroy();
});

test('what is not HTTP is refused in the shape of every other refusal', async (t) => {
  const run = await start(t, 'module.exports = () => "ok"');
  const refused = [
    [`GET / HTTP/1.1\r\nHost: x\r\nX-Big: ${'a'.repeat(70_000)}\r\n\r\n`, 431, 'headers_too_large'],
    ['GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n', 400, 'bad_request'],
    ['not http at all\r\n\r\n', 400, 'bad_request'],
  ];
  for (const [sent, status, reason] of refused) {
    const [head, body] = (await raw(run.port, sent)).split('\r\n\r\n');
    assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.equal(JSON.parse(body).reason, reason);
    assert.match(JSON.parse(body).error, /^the request/);
  }
});

test('a head over the limit is 431', async (t) => {
  const run = await start(t, LENGTH);
  assert.equal((await run.get('/', { headers: { 'x-big': 'a'.repeat(60_000) } })).status, 200);
  assert.match(await raw(run.port, `GET / HTTP/1.1\r\nHost: x\r\nX-Big: ${'a'.repeat(70_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
});

test('keep-alive: one connection serves many requests, pipelined ones in order, and says how long it stays', async (t) => {
  const run = await start(t, 'module.exports = async (event, { path }) => path');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set();
  for (let i = 0; i < 5; i += 1) {
    const answer = await new Promise((resolve, reject) => {
      http.get({ host: '127.0.0.1', port: run.port, path: `/${i}`, agent }, (response) => {
        ports.add(response.socket.localPort);
        response.resume().on('end', () => resolve(response));
      }).on('error', reject);
    });
    assert.equal(answer.headers['keep-alive'], 'timeout=75');
  }
  assert.equal(ports.size, 1);
  const pipelined = await raw(run.port, ['/a', '/b', '/c'].map((path) =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\n${path === '/c' ? 'Connection: close\r\n' : ''}\r\n`).join(''));
  assert.deepEqual(pipelined.match(/\/[abc]/g), ['/a', '/b', '/c']);
});

test('many requests at once', async (t) => {
  const run = await start(t, `let waiting = [];
    module.exports = async (event) => {
      if (waiting.push(0) && waiting.length < 200) await new Promise((r) => { waiting[waiting.length - 1] = r });
      for (const wake of waiting) if (wake) wake();
      return event }`);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, id) => run.json('/event', { id })));
  assert.deepEqual(answers.map((answer) => answer.json().id), answers.map((_, id) => id));
});

test('a stream arrives as it is made, and stops when the client leaves', async (t) => {
  const run = await start(t, `let next; module.exports = async (event, { path }) => {
    if (path === '/next') { next(); return 'ok' }
    return { statusCode: 200, headers: { 'content-type': 'text/event-stream' }, body: (async function* () {
      try { for (;;) { yield 'data: x\\n\\n'; await new Promise((r) => { next = r }) } } finally { console.log('closed') }
    })() } }`);
  const [response] = await once(http.get({ host: '127.0.0.1', port: run.port, path: '/', agent: false }), 'response');
  assert.equal(response.headers['content-type'], 'text/event-stream');
  response.on('error', () => {});
  for (let i = 0; i < 3; i += 1) {
    assert.equal(String((await once(response, 'data'))[0]), 'data: x\n\n');
    if (i < 2) await run.get('/next');
  }
  response.destroy();
  await run.get('/next');
  await run.sees(/^closed$/m);
  assert.equal(run.stderr.split('\n').length, 2, `a client that leaves is not an error: ${run.stderr}`);
});

test('a stream that fails is cut off, not ended, and logged', async (t) => {
  const run = await start(t, `module.exports = async function* (event, { path }) {
    yield 'part'; if (path === '/bad') yield 7; throw new Error('broke') }`);
  await assert.rejects(run.get('/'), { code: 'ECONNRESET' });
  await run.sees(/kipper: GET \/ failed in its body stream: Error: broke/);
  await assert.rejects(run.get('/bad'), { code: 'ECONNRESET' });
  await run.sees(/kipper: bad answer to GET \/bad: a body stream must give text or bytes, not number/);
});

const SLOW = 'module.exports = async () => { console.log("began"); await new Promise((r) => setTimeout(r, 300)); return "done" }';

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} lets a running request finish, closes idle connections, exits 0`, async (t) => {
    const run = await start(t, SLOW);
    const untouched = net.connect(run.port, '127.0.0.1');
    const idle = net.connect(run.port, '127.0.0.1');
    await once(untouched, 'connect');
    idle.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(idle, 'data');
    const agent = new http.Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const pending = request(run.port, { path: '/', agent });
    await run.sees(/^began$/m);
    run.child.kill(signal);
    await Promise.all([once(idle.resume(), 'close'), once(untouched.resume(), 'close')]);
    const answer = await pending;
    assert.deepEqual([answer.status, answer.text, answer.headers.connection], [200, 'done', 'close']);
    assert.equal(await run.exited, 0);
    assert.match(run.stderr, /kipper: draining, 1 running\n$/);
    await assert.rejects(run.get('/'), { code: 'ECONNREFUSED' });
  });
}

test('a drain lets a running stream finish', async (t) => {
  const run = await start(t, `module.exports = async function* () {
    yield 'began'; await new Promise((r) => setTimeout(r, 300)); yield ' done' }`);
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const [response] = await once(http.get({ host: '127.0.0.1', port: run.port, agent }), 'response');
  let text = '';
  response.setEncoding('utf8').on('data', (part) => { text += part; });
  await once(response, 'data');
  run.child.kill('SIGTERM');
  await once(response, 'end');
  assert.equal(text, 'began done');
  assert.equal(await run.exited, 0);
});

test('a drain is bounded', async (t) => {
  const run = await start(t, 'module.exports = () => { console.log("began"); return new Promise(() => {}) }', { KIPPER_DRAIN_SECONDS: '1' });
  const pending = assert.rejects(run.get('/'));
  await run.sees(/^began$/m);
  run.child.kill('SIGTERM');
  assert.equal(await run.exited, 0);
  await pending;
  assert.match(run.stderr, /kipper: drain deadline reached, 1 requests cut off\n$/);
});

test('a drain waits for a handler whose client has left', async (t) => {
  const run = await start(t, SLOW.replace('return "done"', 'console.log("done")'));
  const client = http.get({ host: '127.0.0.1', port: run.port, agent: false }).on('error', () => {});
  await run.sees(/^began$/m);
  client.destroy();
  run.child.kill('SIGTERM');
  assert.equal(await run.exited, 0);
  assert.equal(run.stdout, 'began\ndone\n');
});
