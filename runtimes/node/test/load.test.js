'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch, start } = require('./harness');

test('a port that is taken is one line and exit code 1', async (t) => {
  const first = await start(t, 'module.exports = () => 1');
  const second = launch(t, folder(t, 'module.exports = () => 1'), { PORT: String(first.port) });
  assert.equal(await second.exited, 1);
  assert.match(second.stderr, /^kipper: cannot listen: .*EADDRINUSE.*\n$/);
});
