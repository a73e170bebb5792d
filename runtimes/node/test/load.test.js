'use strict';
const fs = require('node:fs');
const path = require('node:path');
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch, start } = require('./harness');

test('a port that is taken is one line and exit code 1', async (t) => {
  const first = await start(t, 'module.exports = () => 1');
  const second = launch(t, folder(t, 'module.exports = () => 1'), { PORT: String(first.port) });
  assert.equal(await second.exited, 1);
  assert.match(second.stderr, /^kipper: cannot listen: .*EADDRINUSE.*\n$/);
});

test('a folder is loaded with the folders in it', async (t) => {
  const run = await start(t, {
    'index.js': "const { shout } = require('./lib/shout'); module.exports = async (event, context) => shout(context.path)",
    'lib/shout.js': "exports.shout = (text) => text.toUpperCase() + require('../words.json').end",
    'words.json': '{ "end": "!" }',
    'package.json': '{ "private": true }',
  });
  assert.equal((await run.get('/hello')).text, '/HELLO!');
});

const typed = {
  'index.ts': "import { shout } from './lib/shout.ts'\n"
    + 'export default async (event: unknown, context: { path: string }): Promise<string> => shout(context.path)',
  'lib/shout.ts': 'export const shout = (text: string): string => text.toUpperCase()',
};

test('TypeScript runs where Node strips its types', { skip: !process.features.typescript }, async (t) => {
  for (const files of [typed, { ...typed, 'package.json': '{ "type": "module" }' }]) {
    const run = await start(t, files);
    assert.equal((await run.get('/hello')).text, '/HELLO');
  }
});

test('TypeScript elsewhere is one line that says what to do', { skip: process.features.typescript }, async (t) => {
  const run = launch(t, folder(t, typed));
  assert.equal(await run.exited, 1);
  assert.match(run.stderr, /^kipper: cannot load the function: .*index\.ts is TypeScript, .* use Node 22\.18 or newer, .*\n$/);
});

test('a stack that the handler prints has the path of the mounted file', async (t) => {
  for (const [name, code] of [
    ['index.js', 'module.exports = fail'],
    ['index.mjs', 'export default fail'],
  ]) {
    const root = folder(t, {});
    fs.mkdirSync(path.join(root, '..2026_07_04_12_00_00.123'));
    const text = `${code}\nfunction fail() {\n  console.error(new TypeError('no ledger'))\n  console.log('plain', new Error('x').stack)\n}\n`;
    fs.writeFileSync(path.join(root, '..2026_07_04_12_00_00.123', name), text);
    fs.symlinkSync('..2026_07_04_12_00_00.123', path.join(root, '..data'));
    fs.symlinkSync(`..data/${name}`, path.join(root, name));
    const run = launch(t, root, { KIPPER_MODE: 'batch' });
    assert.equal(await run.exited, 0, run.stderr);
    assert.match(run.stderr, new RegExp(`^TypeError: no ledger\\n    at .*/${name}:3:17`), run.stderr);
    assert.match(run.stdout, new RegExp(`^plain Error: x\\n    at .*/${name}:4:24`), run.stdout);
    assert.doesNotMatch(run.stdout + run.stderr, /\.\.2026|\.\.data/);
  }
});
