'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch } = require('./harness');

const runs = {
  'success': ['module.exports = async (event, context) => { console.log(JSON.stringify([event, context])) }', 0, '[null,{"trigger":"test"}]\n', /^$/],
  'waits, then leaves open handles': ['module.exports = async () => { setInterval(() => {}, 1e6); await new Promise((r) => setTimeout(r, 50)); console.log("end") }', 0, 'end\n', /^$/],
  'an ES module': [{ 'index.mjs': 'export default () => { console.log("esm") }' }, 0, 'esm\n', /^$/],
  'a generator': ['module.exports = async function* () { yield 1; console.log("ran") }', 0, 'ran\n', /^$/],
  'an answer': ['module.exports = () => ({ statusCode: 200 })', 0, '', /^$/],
  'a rejection': ['module.exports = async () => { throw new Error("boom") }', 1, '', /^kipper: the run failed: boom\nError: boom\n +at .*index\.js:1/],
  'a throw': ['module.exports = () => { throw new Error("boom") }', 1, '', /^kipper: the run failed: boom\nError: boom\n +at /],
  'an uncaught exception': ['module.exports = () => new Promise(() => setTimeout(() => { throw new Error("late") }))', 1, '', /^kipper: the run failed: late\n/],
  'an unhandled rejection': ['module.exports = () => { Promise.reject(new Error("loose")); return new Promise((r) => setTimeout(r, 1e6)) }', 1, '', /^kipper: the run failed: loose\n/],
  'a promise that never settles': ['module.exports = () => new Promise(() => {})', 1, '', /never finished/],
  'an answer that reports failure': ['module.exports = () => ({ statusCode: 500 })', 1, '', /^kipper: the run failed: the handler answered 500\n$/],
};

for (const [name, [files, code, stdout, stderr]] of Object.entries(runs)) {
  test(`batch: ${name}`, async (t) => {
    const run = launch(t, folder(t, files), { KIPPER_MODE: 'batch', KIPPER_TRIGGER: 'test' });
    assert.deepEqual([await run.exited, run.stdout], [code, stdout], run.stderr);
    assert.match(run.stderr, stderr);
  });
}

test('batch: a stop ends the run with the signal\'s exit code', async (t) => {
  const run = launch(t, folder(t, 'module.exports = () => { console.log("began"); return new Promise((r) => setTimeout(r, 1e6)) }'), { KIPPER_MODE: 'batch' });
  await run.sees(/^began$/m);
  run.child.kill('SIGTERM');
  assert.equal(await run.exited, 143);
});
