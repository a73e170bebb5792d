'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch } = require('./harness');

test('a stop ends a batch run with the signal\'s exit code', async (t) => {
  const run = launch(t, folder(t, 'module.exports = () => { console.log("began"); return new Promise((r) => setTimeout(r, 1e6)) }'), { KIPPER_MODE: 'batch' });
  await run.sees(/^began$/m);
  run.child.kill('SIGTERM');
  assert.equal(await run.exited, 143);
});
