'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { raw, start } = require('./harness');

const ECHO = 'module.exports = async (event, context) => ({ statusCode: 200, body: { event, context, raw: context.rawBody.toString("latin1") } })';

test('event and context', async (t) => {
  const run = await start(t, ECHO, { KIPPER_TRIGGER: 'redis' });
  const check = async (body, type, event, isBase64 = false) => {
    const seen = (await run.post('/x', body, type ? { 'content-type': type } : {})).json();
    assert.deepEqual(seen.event, event, `${type}: ${body}`);
    assert.equal(seen.context.isBase64, isBase64, `${type}: ${body}`);
  };
  await check('{"id":42}', 'application/json', { id: 42 });
  await check('{"id":42}', 'Application/JSON; charset=utf-8', { id: 42 });
  await check('[1]', 'application/cloudevents+json', [1]);
  await check('\ufeff"bom"', 'application/json', 'bom');
  await check('', 'application/json', null);
  await check('a=1&b=2&a=3&c=x+y%21&__proto__=p', 'application/x-www-form-urlencoded',
    JSON.parse('{"a":["1","3"],"b":"2","c":"x y!","__proto__":"p"}'));
  await check('grüße', 'text/plain', 'grüße');
  await check(Buffer.from([0xfc]), 'text/plain; charset=iso-8859-1', 'ü');
  await check(Buffer.from([1, 2]), 'text/plain; charset=nonsense', 'AQI=', true);
  await check('{"id":42}', '', 'eyJpZCI6NDJ9', true);
  await check(Buffer.from([0, 255, 128]), 'image/png', 'AP+A', true);

  const { context, event } = (await run.get('/a%20b/../c?x=1&y=2&x=3&z', { headers: { 'X-Request-Id': 'r1', 'X-Thing': 'T' } })).json();
  assert.equal(event, null);
  assert.equal(context.method, 'GET');
  assert.equal(context.path, '/a%20b/../c');
  assert.deepEqual(context.query, { x: ['1', '3'], y: '2', z: '' });
  assert.equal(context.headers['x-thing'], 'T');
  assert.equal(context.trigger, 'redis');
  assert.equal(context.requestId, 'r1');
  assert.equal((await run.get('/')).json().context.requestId, null);
  assert.equal((await run.json('/', { a: 1 })).json().raw, '{"a":1}', 'the bytes as they came');
  assert.match(await raw(run.port, 'GET http://example.com/p?q=1 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n'),
    /"path":"\/p","query":\{"q":"1"\}/);
});

test('invalid JSON is 400 and never reaches the handler', async (t) => {
  const run = await start(t, 'module.exports = () => { console.log("called") }');
  for (const body of ['{bad', Buffer.from([0x22, 0xff, 0x22])]) {
    const answer = await run.post('/event', body, { 'content-type': 'application/json' });
    assert.equal(answer.status, 400);
    assert.match(answer.json().error, /^the body is not valid JSON: /);
  }
  assert.equal(run.stdout, '');
});

test('answers', async (t) => {
  const run = await start(t, `
    const { Readable } = require('node:stream');
    const answers = {
      nothing: () => undefined, null: () => null, text: () => 'grüße', bytes: () => Buffer.from([1, 255]),
      object: () => ({ ok: true }), array: () => [1, 2], number: () => 7, no: () => false, date: () => new Date(0),
      shaped: () => ({ statusCode: 201, headers: { 'X-A': 1, 'Set-Cookie': ['a=1', 'b=2'], 'x-none': null }, body: { a: 1 } }),
      typed: () => ({ statusCode: 200, headers: { 'Content-Type': 'text/html' }, body: '<p>' }),
      textual: () => ({ statusCode: '404', body: 'gone' }),
      base64: () => ({ statusCode: 200, headers: { 'content-type': 'image/png' }, isBase64: true, body: 'AP+A' }),
      lambda: () => ({ statusCode: 200, isBase64Encoded: true, body: 'AP+A' }),
      empty: () => ({ statusCode: 204, body: 'dropped' }),
      framing: () => ({ statusCode: 200, headers: { 'Content-Length': '999', 'Transfer-Encoding': 'x', Connection: 'upgrade' }, body: 'ok' }),
      web: () => new Response('web', { status: 202, headers: [['x-web', '1'], ['set-cookie', 'a=1'], ['set-cookie', 'b=2']] }),
      webempty: () => new Response(null, { status: 204 }),
      headers: () => ({ statusCode: 200, headers: new Headers({ 'x-h': 'y' }), body: 'h' }),
      readable: () => ({ statusCode: 200, headers: { 'content-type': 'text/csv' }, body: Readable.from(['a,', 'b']) }),
      generator: async function* () { yield 'one '; yield Buffer.from('two') },
      status99: () => ({ statusCode: 99 }), statusText: () => ({ statusCode: 'fine' }),
      newline: () => ({ statusCode: 200, headers: { 'x-a': 'b\\r\\nx-c: d' } }),
      name: () => ({ statusCode: 200, headers: { 'bad name': 'x' } }),
      nested: () => ({ statusCode: 200, headers: { 'x-a': {} } }),
      cycle: () => { const a = {}; a.a = a; return a }, big: () => 1n, fn: () => () => 1,
      notbase64: () => ({ statusCode: 200, isBase64: true, body: '###' }),
    };
    module.exports = async (event, context) => answers[context.path.slice(1)]()`);
  const check = async (name, status, type, text) => {
    const answer = await run.get(`/${name}`);
    assert.deepEqual([answer.status, answer.headers['content-type'], answer.bytes.toString('latin1')],
      [status, type, Buffer.from(text, typeof text === 'string' ? 'utf8' : undefined).toString('latin1')], name);
    return answer;
  };
  const JSON_TYPE = 'application/json';
  const TEXT = 'text/plain; charset=utf-8';
  const BYTES = 'application/octet-stream';
  await check('nothing', 204, undefined, '');
  await check('null', 204, undefined, '');
  await check('text', 200, TEXT, 'grüße');
  await check('bytes', 200, BYTES, [1, 255]);
  await check('object', 200, JSON_TYPE, '{"ok":true}');
  await check('array', 200, JSON_TYPE, '[1,2]');
  await check('number', 200, JSON_TYPE, '7');
  await check('no', 200, JSON_TYPE, 'false');
  await check('date', 200, JSON_TYPE, '"1970-01-01T00:00:00.000Z"');
  const shaped = await check('shaped', 201, JSON_TYPE, '{"a":1}');
  assert.deepEqual([shaped.headers['x-a'], shaped.headers['set-cookie'], shaped.headers['x-none']], ['1', ['a=1', 'b=2'], undefined]);
  await check('typed', 200, 'text/html', '<p>');
  await check('textual', 404, TEXT, 'gone');
  await check('base64', 200, 'image/png', [0, 255, 128]);
  await check('lambda', 200, BYTES, [0, 255, 128]);
  await check('empty', 204, undefined, '');
  const framing = await check('framing', 200, TEXT, 'ok');
  assert.equal(framing.headers['content-length'], '2');
  const web = await check('web', 202, 'text/plain;charset=UTF-8', 'web');
  assert.deepEqual([web.headers['x-web'], web.headers['set-cookie']], ['1', ['a=1', 'b=2']]);
  await check('webempty', 204, undefined, '');
  assert.equal((await check('headers', 200, TEXT, 'h')).headers['x-h'], 'y');
  await check('readable', 200, 'text/csv', 'a,b');
  await check('generator', 200, BYTES, 'one two');
  for (const [name, message] of Object.entries({
    status99: 'statusCode must be a whole number from 200 to 599, not 99',
    statusText: 'statusCode must be a whole number from 200 to 599, not fine',
    newline: 'Invalid character in header content ["x-a"]',
    name: 'Header name must be a valid HTTP token ["bad name"]',
    nested: 'header x-a must be a string, a number or an array of them',
    cycle: 'the answer cannot be written as JSON: ', big: 'the answer cannot be written as JSON: ',
    fn: 'a function cannot be an answer', notbase64: 'isBase64 is set, but the body is not valid base64',
  })) {
    const answer = await run.get(`/${name}`);
    assert.equal(answer.status, 500, name);
    assert.equal(answer.headers['x-a'], undefined);
    assert.ok(answer.json().error.startsWith(message), answer.text);
    await run.sees(new RegExp(`kipper: bad answer to GET /${name}: .+\n`));
  }
});

test('an event without an answer is done with 200; other answers count as they are', async (t) => {
  const run = await start(t, 'module.exports = async (event) => event?.answer');
  assert.equal((await run.json('/event', { id: 1 })).status, 200);
  assert.equal((await run.json('/event', { answer: { statusCode: 503 } })).status, 503);
  assert.equal((await run.json('/', { id: 1 })).status, 204);
  assert.equal((await run.get('/event')).status, 204, 'only a POST is an event');
});

test('an event comes as the poller sends it: the row, its id, the trigger; a thrown error is a 500', async (t) => {
  const run = await start(t, `module.exports = async (event, { trigger, headers, method, path }) => {
    if (event.id === 2) throw new Error('no stock');
    return { event, trigger, id: headers['ce-id'], attempt: headers['kipper-attempt'], method, path } }`, { KIPPER_TRIGGER: 'postgres' });
  const headers = { 'content-type': 'application/json', 'ce-id': 'ns/fn/1', 'ce-specversion': '1.0', 'kipper-attempt': '3' };
  const done = await run.post('/event', '{"id":1,"note":null,"tags":["ä"]}', headers);
  assert.equal(done.status, 200);
  assert.deepEqual(done.json(), { event: { id: 1, note: null, tags: ['ä'] }, trigger: 'postgres', id: 'ns/fn/1', attempt: '3', method: 'POST', path: '/event' });
  const failed = await run.post('/event', '{"id":2}', headers);
  assert.deepEqual([failed.status, failed.text], [500, '{"error":"no stock"}']);
});

test('health answers without the handler', async (t) => {
  const run = await start(t, 'module.exports = () => { throw new Error("never") }');
  const answer = await run.get('/health?probe=1');
  assert.deepEqual([answer.status, answer.text], [200, 'ok\n']);
  assert.equal((await run.get('/health', { method: 'HEAD' })).status, 200);
  assert.equal((await run.post('/health')).status, 500, 'any other method is the function\'s');
});

test('HEAD has the head of GET and no body', async (t) => {
  const run = await start(t, 'module.exports = async (e, c) => c.path === "/s" ? (async function* () { yield "x" })() : "hello"');
  const answer = await raw(run.port, 'HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(answer, /content-length: 5\r\n[^]*\r\n\r\n$/i);
  assert.match(await raw(run.port, 'HEAD /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /\r\n\r\n$/);
});

test('errors: 500 with the message, one record on stderr, the process stays', async (t) => {
  const run = await start(t, `module.exports = async (event, { path }) => {
    if (path === '/throw') throw new Error('boom');
    if (path === '/string') throw 'just text';
    if (path === '/later') { setTimeout(() => { throw new Error('after the answer') }); return 'ok' }
    if (path === '/reject') { Promise.reject(new Error('nobody waits')); return 'ok' }
    return 'alive' }`);
  const boom = await run.json('/event', { path: 1 });
  assert.equal(boom.text, 'alive');
  const thrown = await run.get('/throw?secret=1');
  assert.deepEqual([thrown.status, thrown.headers['content-type'], thrown.text], [500, 'application/json', '{"error":"boom"}']);
  await run.sees(/^kipper: GET \/throw failed: Error: boom \| at .*index\.js:2:\d+.*\n/m);
  assert.equal((await run.get('/string')).text, '{"error":"just text"}');
  assert.equal((await run.get('/later')).text, 'ok');
  await run.sees(/^kipper: uncaught exception: Error: after the answer \| at .*\n/m);
  assert.equal((await run.get('/reject')).text, 'ok');
  await run.sees(/^kipper: unhandled rejection: Error: nobody waits \| at .*\n/m);
  assert.equal((await run.get('/')).text, 'alive');
  assert.ok(run.stderr.split('\n').every((line) => line === '' || line.startsWith('kipper: ')), run.stderr);
});

test('the handler\'s output is untouched', async (t) => {
  const run = await start(t, 'module.exports = () => { console.log("to stdout"); console.error("to stderr") }');
  await run.get('/');
  await run.sees(/^to stderr$/m);
  assert.equal(run.stdout, 'to stdout\n');
});
