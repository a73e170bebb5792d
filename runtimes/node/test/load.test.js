'use strict';
const fs = require('node:fs');
const path = require('node:path');
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch, request, start } = require('./harness');

test('a port that is taken is one line and exit code 1', async (t) => {
  const first = await start(t, 'module.exports = () => 1');
  const second = launch(t, folder(t, 'module.exports = () => 1'), { PORT: String(first.port) });
  assert.equal(await second.exited, 1);
  assert.match(second.stderr, /^kipper: cannot listen: .*EADDRINUSE.*\n$/);
});

test('a start loads no more than it needs', async (t) => {
  const run = await start(t, `const { basename, dirname } = require('node:path');
const isOwn = (file) => dirname(file) === dirname(require.main.filename);
const own = () => Object.keys(require.cache).filter(isOwn).map((file) => basename(file, '.js'));
const first = own();
const seldom = ['child_process', 'cluster', 'crypto', 'dgram', 'dns', 'os', 'worker_threads', 'zlib'];
module.exports = () => ({ first, all: own(), nodes: seldom.filter((name) => process.moduleLoadList.includes('NativeModule ' + name)) });
`);
  const { first, all, nodes } = (await run.get('/')).json();
  const load = ['config', 'limits', 'load', 'log', 'main'];
  assert.deepEqual(first.sort(), load);
  assert.deepEqual(all.sort(), [...load, 'answer', 'body', 'event', 'exact', 'http', 'json', 'listen', 'refusal', 'stall'].sort());
  assert.deepEqual(nodes, []);
});

test('a host that is a name is one as well', async (t) => {
  const run = launch(t, folder(t, 'module.exports = () => 1'), { KIPPER_HOST: 'localhost' });
  const [, host, port] = await run.sees(/listening on http:\/\/(.*):(\d+) /);
  assert.equal((await request(Number(port), { path: '/', host: host.replace(/[[\]]/g, '') })).text, '1');
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

test('code that came in the environment is a folder that nobody writes to', async (t) => {
  let root;
  t.after(() => fs.readdirSync(root).concat('').forEach((name) => fs.chmodSync(path.join(root, name), 0o755)));
  root = folder(t, {});
  const text = '\ufeffcafé \u{1f600}\r\n$(PORT)\n';
  const code = `const fs = require('node:fs');
const shown = (env) => Object.keys(env).filter((name) => name.startsWith('KIPPER_FILE'));
module.exports = () => {
  const child = require('node:child_process').execFileSync(process.execPath, ['-p', 'JSON.stringify(process.env)']);
  const mode = (name) => (fs.statSync(__dirname + name).mode & 0o777).toString(8);
  return {
    file: __filename,
    text: require('./lib/read').text,
    own: shown(process.env),
    childs: shown(JSON.parse(child)),
    modes: ['', '/lib', '/index.js', '/lib/read.js'].map(mode),
    stack: new Error('x').stack.split('\\n')[1],
  };
};
`;
  const run = launch(t, root, {
    KIPPER_FILES: 'a b.txt\nindex.js\nlib/read.js',
    KIPPER_FILE_0: text,
    KIPPER_FILE_1: code,
    KIPPER_FILE_2: "exports.text = require('node:fs').readFileSync(`${__dirname}/../a b.txt`).toString('base64')",
  });
  const [, port] = await run.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/);
  const { stack, ...found } = (await request(Number(port), { path: '/' })).json();
  assert.deepEqual(found, {
    file: path.join(root, 'index.js'),
    text: Buffer.from(text).toString('base64'),
    own: [],
    childs: [],
    modes: ['555', '555', '444', '444'],
  });
  assert.ok(stack.includes(`${root}/index.js:12:`), stack);
});

test('a folder that cannot be written to is one line that says so', async (t) => {
  const run = launch(t, '/dev/null/function', { KIPPER_FILES: 'index.js', KIPPER_FILE_0: '' });
  assert.equal(await run.exited, 1);
  assert.match(run.stderr, /^kipper: cannot load the function: cannot write \/dev\/null\/function\/index\.js: ENOTDIR\n$/);
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
