'use strict';
// Runs the rows of runtimes/conformance that Node has to pass; runtimes/README.md says what a row may hold.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');
const { test } = require('node:test');
const { folder, launch, request } = require('./harness');

const TABLES = path.join(__dirname, '../../conformance');
const ENV = { KIPPER_ERROR_DETAIL: 'true', KIPPER_DRAIN_SECONDS: '20' };

for (const name of fs.readdirSync(TABLES).filter((file) => file.endsWith('.json'))) {
  const table = JSON.parse(fs.readFileSync(path.join(TABLES, name), 'utf8'));
  for (const group of groups(table)) {
    test(`${name}: ${group.rows.length === 1 ? group.rows[0].name : `${group.rows.length} rows`} ${group.variant}`, (t) => run(t, group));
  }
}

/** Rows with the same function, settings and mode share a process. */
function groups(table) {
  const found = new Map();
  const expressions = [];
  for (const row of table.cases) {
    row.mode ??= table.mode ?? 'http';
    if (row.node === false) {
      assert.ok(row.why, `${row.name}: a row that is not for Node says why`);
      continue;
    }
    row.expect = { ...row.expect, ...row.expectNode };
    const short = row.node?.returns ?? row.node?.throws;
    if (short !== undefined) {
      row.number = expressions.push(row.node.returns !== undefined ? `() => (${short})` : `() => { throw (${short}) }`) - 1;
    }
  }
  const choose = () => `${table.setup?.node ?? ''}\nconst cases = [\n${expressions.join(',\n')}\n];\n`
    + 'module.exports = ASYNC(event, context) => cases[Number(context.query.case)]()';
  for (const row of table.cases.filter(({ node }) => node !== false)) {
    const given = row.number === undefined ? row.node ?? table.handler.node : choose();
    const source = typeof given === 'string' ? { files: { 'index.js': given } } : given;
    for (const variant of JSON.stringify(source).includes('ASYNC') ? ['sync', 'async'] : ['']) {
      const key = JSON.stringify([source, row.env, row.mode === 'event' ? 'http' : row.mode, variant]);
      if (!found.has(key)) found.set(key, { source, variant, env: row.env, mode: row.mode, rows: [] });
      found.get(key).rows.push(row);
    }
  }
  return [...found.values()];
}

function place(t, { source, variant }) {
  const text = (code) => code.replaceAll('ASYNC', variant === 'async' ? 'async ' : '');
  const root = folder(t, Object.fromEntries(Object.entries(source.files).map(([name, code]) => [name, text(code)])), 'conformance-');
  for (const [name, target] of Object.entries(source.links ?? {})) fs.symlinkSync(target, path.join(root, name));
  return path.join(root, source.path ?? '');
}

async function run(t, group) {
  const batch = group.mode === 'batch' ? { KIPPER_MODE: 'batch', KIPPER_TRIGGER: 'test' } : {};
  const started = launch(t, place(t, group), { ...ENV, ...batch, ...group.env });
  if (group.mode === 'batch' || group.mode === 'refused') {
    const [{ expect }] = group.rows;
    assert.equal(await started.exited, expect.exit, started.stderr);
    return checkOutput(started, expect);
  }
  started.port = Number((await started.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/))[1]);
  for (const row of group.rows) await t.test(row.name, () => exchange(started, row));
  started.child.kill('SIGTERM');
  assert.equal(await started.exited, 0, 'every request is given back, so the drain ends');
  assert.doesNotMatch(started.stderr, /drain deadline/);
  for (const { expect } of group.rows) checkOutput(started, { ...expect, log: undefined });
}

function checkOutput(started, expect) {
  if (expect.log !== undefined) assert.match(started.stderr, new RegExp(expect.log));
  if (expect.notLog !== undefined) assert.doesNotMatch(started.stderr, new RegExp(expect.notLog));
  if (expect.stdout !== undefined) assert.equal(started.stdout, expect.stdout);
  if (expect.quiet) assert.match(started.stderr, /^kipper: listening [^\n]+\nkipper: draining, [^\n]+\n$/);
}

async function exchange(started, row) {
  const { expect } = row;
  const sent = row.request ?? (row.mode === 'event' ? { path: '/event', type: 'application/json', body: '{"id":1}' } : { method: 'GET' });
  const target = `${sent.path ?? '/'}${row.number === undefined ? '' : `?case=${row.number}`}`;
  const headers = { ...sent.headers, ...(sent.type && { 'content-type': sent.type }) };
  const pending = request(started.port, { method: sent.method ?? 'POST', path: target, headers }, bytesOf(sent.body));
  if (expect.cut) await assert.rejects(pending, { code: 'ECONNRESET' });
  else checkAnswer(await pending, expect);
  if (expect.log !== undefined) await started.sees(new RegExp(expect.log, 'm'));
}

function bytesOf(body) {
  if (body === undefined || typeof body === 'string') return Buffer.from(body ?? '');
  if (body.base64 !== undefined) return Buffer.from(body.base64, 'base64');
  if (body.gzip !== undefined) return zlib.gzipSync(bytesOf(body.gzip));
  if (body.deflate !== undefined) return zlib.deflateSync(bytesOf(body.deflate));
  if (body.rawDeflate !== undefined) return zlib.deflateRawSync(bytesOf(body.rawDeflate));
  if (body.join !== undefined) return Buffer.concat(body.join.map(bytesOf));
  return Buffer.from(`${body.start ?? ''}${body.repeat.repeat(body.times)}${body.end ?? ''}`);
}

const CHECKS = {
  status: (answer, status) => assert.equal(answer.status, status, answer.text),
  acked: (answer, acked) => assert.equal(answer.status >= 200 && answer.status < 300, acked),
  type: (answer, type) => assert.equal(answer.headers['content-type'] ?? null, type),
  body: (answer, body) => assert.equal(answer.text, body),
  base64: (answer, base64) => assert.equal(answer.bytes.toString('base64'), base64),
  json: (answer, value) => assert.deepEqual(answer.json(), value),
  text: (answer, text) => assert.ok(answer.text.includes(text), answer.text),
  error: (answer, pattern) => assert.match(answer.json().error, new RegExp(pattern)),
  reason: (answer, reason) => assert.equal(answer.json().reason, reason),
  requestId: (answer, id) => assert.equal(answer.json().requestId ?? null, id),
  headers: (answer, headers) => checkHeaders(answer.headers, headers),
  event: (answer, event) => assert.deepEqual(answer.json().event, event),
  eventLength: (answer, length) => assert.equal(String(answer.json().event).length, length),
  isBase64: (answer, isBase64) => assert.equal(answer.json().context.isBase64, isBase64),
  raw: (answer, raw) => assert.equal(answer.json().raw, raw),
  context: (answer, context) => {
    const seen = answer.json().context;
    for (const [name, value] of Object.entries(context)) assert.deepEqual(seen[name], value, name);
  },
  contextHeaders: (answer, headers) => checkHeaders(answer.json().context.headers, headers),
};
const OUTPUT = new Set(['cut', 'log', 'notLog', 'stdout', 'quiet']);

function checkAnswer(answer, expect) {
  for (const [name, value] of Object.entries(expect)) {
    if (OUTPUT.has(name)) continue;
    assert.ok(CHECKS[name], `no check is called ${name}`);
    CHECKS[name](answer, value);
  }
}

function checkHeaders(seen, expected) {
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(seen[name] ?? null, value, name);
}
