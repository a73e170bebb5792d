'use strict';
const assert = require('node:assert/strict');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { test } = require('node:test');
const { marksOf } = require('../event');
const { Limits, containerMemory } = require('../limits');
const { folder, start } = require('./harness');

const MEBI = 2 ** 20;

test('limits follow the container\'s memory and the settings', () => {
  const sizes = (given) => { const { memory, body } = new Limits(given); return [memory, body]; };
  assert.deepEqual(sizes({ memory: null }), [1024 * MEBI, 32 * MEBI]);
  assert.deepEqual(sizes({ memory: 8192 * MEBI }), [1024 * MEBI, 32 * MEBI]);
  assert.deepEqual(sizes({ memory: 256 * MEBI }), [64 * MEBI, 32 * MEBI]);
  assert.deepEqual(sizes({ memory: 1 * MEBI }), [8 * MEBI, 32 * MEBI], 'not less than something useful');
  assert.deepEqual(sizes({ memory: 256 * MEBI, maxBody: 1000 }), [64 * MEBI, 1000]);
  assert.deepEqual(sizes({ memory: 256 * MEBI, bodyMemory: 128 * MEBI }), [128 * MEBI, 32 * MEBI]);
});

test('a body costs 4 for each byte and 108 for each that may begin a value', () => {
  for (const [type, body, cost] of [
    ['text/plain', '{"a":[1,2]}', 44],
    ['application/json', '{"a":[1,2]}', 44 + 4 * 108],
    ['application/vnd.x+json', '"[,"', 16 + 2 * 108],
    ['application/x-www-form-urlencoded', 'a=1&b', 20 + 2 * 108],
  ]) {
    const limits = new Limits({ memory: null });
    const hold = limits.hold(marksOf({ 'content-type': type }));
    assert.equal(hold.take(Buffer.from(body), body.length), null);
    assert.equal(limits.held, cost, `${type} ${body}`);
  }
});

test('a refusal says which limit it was', () => {
  const limits = new Limits({ maxBody: 90, bodyMemory: 400 });
  const hold = limits.hold(marksOf({ 'content-type': 'application/json' }));
  const status = (refused) => refused && [refused.status, /KIPPER_\w+/.exec(refused.message)[0]];
  assert.equal(limits.refusal(90), null);
  assert.equal(limits.refusal(NaN), null, 'nothing was announced');
  assert.deepEqual(status(limits.refusal(91)), [413, 'KIPPER_MAX_BODY']);
  assert.deepEqual(status(new Limits({ bodyMemory: 400 }).refusal(101)), [413, 'KIPPER_BODY_MEMORY'], 'the least it can cost');
  assert.equal(status(hold.take(Buffer.from('[1,2'), 4)), null);
  assert.deepEqual(status(hold.take(Buffer.from(',[3]'), 8)), [413, 'KIPPER_BODY_MEMORY'], 'what it does cost');
  assert.deepEqual(status(limits.hold(null).take(Buffer.alloc(50), 50)), [503, 'KIPPER_BODY_MEMORY'], 'beside others');
});

test('the container\'s memory is read from cgroup v2, then v1', (t) => {
  const root = folder(t, { v2: '268435456\n', max: 'max\n', v1: '536870912\n', none: '9223372036854771712\n' });
  const read = (...names) => containerMemory(names.map((name) => path.join(root, name)));
  assert.equal(read('v2', 'v1'), 268435456);
  assert.equal(read('missing', 'v1'), 536870912);
  assert.equal(read('max', 'none'), null);
});

test('a hold gives back what it took', () => {
  const limits = new Limits({ memory: null, bodyMemory: 400 });
  const [first, second] = [limits.hold(null), limits.hold(null)];
  const fits = (hold, size) => hold.take(Buffer.alloc(size), size) === null;
  assert.deepEqual([fits(first, 60), fits(second, 41), fits(second, 40)], [true, false, true]);
  first.release();
  first.release();
  assert.equal(fits(second, 60), true);
  second.release();
  assert.equal(limits.held, 0);
});

const HOLDING = `const waiting = [];
  module.exports = async (event, { path }) => {
    if (path === '/free') { for (const go of waiting) go(); return 'freed' }
    if (path === '/hold') { console.log('held'); await new Promise((r) => waiting.push(r)) }
    return String(event.length) }`;

test('bodies share one memory: what does not fit beside others is 503, and fits when they are done', async (t) => {
  const run = await start(t, HOLDING, { KIPPER_BODY_MEMORY: '4000' });
  const text = { 'content-type': 'text/plain' };
  const first = run.post('/hold', 'x'.repeat(600), text);
  await run.sees(/^held$/m);
  for (const body of ['x'.repeat(401), ['x'.repeat(200), 'x'.repeat(201)]]) {
    const refused = await run.post('/', body, text);
    assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '1']);
    assert.match(refused.json().error, /KIPPER_BODY_MEMORY/);
  }
  assert.equal((await run.post('/', 'x'.repeat(400), text)).text, '400');
  assert.equal((await run.post('/', 'x'.repeat(1001), text)).status, 413, 'can never fit');
  await run.get('/free');
  assert.equal((await first).text, '600');
  assert.equal((await run.post('/', 'x'.repeat(1000), text)).text, '1000');
});

for (const [name, source] of Object.entries({
  'in one piece': 'module.exports = (event, { path }) => path === "/big" ? Buffer.alloc(50e6) : "alive"',
  'as a stream': `module.exports = (event, { path }) => path !== '/big' ? 'alive'
    : (async function* () { try { for (;;) yield Buffer.alloc(65536) } finally { console.log('closed') } })()`,
})) {
  test(`a client that does not read its answer is cut off: ${name}`, async (t) => {
    const run = await start(t, source, { KIPPER_WRITE_SECONDS: '1' });
    const client = net.connect(run.port, '127.0.0.1');
    client.write('GET /big HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(client, 'readable');
    await run.sees(/^kipper: connection closed: its client did not read its answer for 1 s \(KIPPER_WRITE_SECONDS\)$/m);
    if (name === 'as a stream') await run.sees(/^closed$/m);
    assert.equal((await run.get('/')).text, 'alive');
    let taken = 0;
    client.on('data', (data) => { taken += data.length; }).on('error', () => {});
    await once(client, 'close');
    assert.ok(taken < 50e6);
  });
}
