'use strict';
// Packages come from local folders, so nothing here needs a registry.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { reason } = require('../deps');
const { folder, launch, start } = require('./harness');

const FUNCTION = {
  'index.js': 'const { greet } = require("greeting"); module.exports = () => greet("a") + require("./tail")',
  'tail.js': 'module.exports = "!"',
  'package.json': '{"dependencies":{"greeting":"file:./lib/greeting"}}',
  'lib/greeting/package.json': '{"name":"greeting","version":"1.0.0","main":"g.js","dependencies":{"word":"file:../word"}}',
  'lib/greeting/g.js': 'exports.greet = (name) => require("word") + " " + name',
  'lib/word/package.json': '{"name":"word","version":"1.0.0","main":"w.js"}',
  'lib/word/w.js': 'module.exports = "Hello"',
};

const started = async (t, root, work) => {
  const run = launch(t, root, { KIPPER_WORK_DIR: work });
  run.port = Number((await run.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/))[1]);
  const response = await fetch(`http://127.0.0.1:${run.port}/`);
  return { text: await response.text(), installed: /installing 1 package with npm/.test(run.stderr) };
};

test('installs once per manifest, follows changes of code and of local packages', async (t) => {
  const root = folder(t, FUNCTION);
  const work = folder(t, {});
  assert.deepEqual(await started(t, root, work), { text: 'Hello a!', installed: true });
  assert.ok(!fs.existsSync(path.join(root, 'node_modules')), 'the function\'s own folder stays as it was');
  assert.deepEqual(await started(t, root, work), { text: 'Hello a!', installed: false });
  fs.writeFileSync(path.join(root, 'tail.js'), 'module.exports = "?"');
  assert.deepEqual((await started(t, root, work)).text, 'Hello a?');
  fs.writeFileSync(path.join(root, 'lib/greeting/g.js'), 'exports.greet = (name) => "Bye " + name');
  assert.deepEqual(await started(t, root, work), { text: 'Bye a?', installed: true });
});

test('an interrupted install is done again', async (t) => {
  const root = folder(t, FUNCTION);
  const work = folder(t, {});
  await started(t, root, work);
  const [installed] = fs.readdirSync(work);
  // What a kill in the middle leaves: a folder under its temporary name, without the stamp.
  fs.rmSync(path.join(work, installed, '.kipper-complete'));
  fs.renameSync(path.join(work, installed), path.join(work, `${installed}.dead.tmp`));
  assert.deepEqual(await started(t, root, work), { text: 'Hello a!', installed: true });
});

test('starts at the same time do not disturb each other', async (t) => {
  const root = folder(t, FUNCTION);
  const work = folder(t, {});
  const answers = await Promise.all([1, 2, 3].map(() => started(t, root, work)));
  assert.deepEqual(answers.map(({ text }) => text), ['Hello a!', 'Hello a!', 'Hello a!']);
  assert.equal(fs.readdirSync(work).length, 1, 'the losers clean up');
});

test('a ConfigMap mount: symbolic links, read through', async (t) => {
  const root = folder(t, {});
  fs.mkdirSync(path.join(root, '..2026_01_01'));
  const lib = folder(t, { 'package.json': '{"name":"word","version":"1.0.0"}', 'index.js': 'module.exports = "Hello"' });
  fs.writeFileSync(path.join(root, '..2026_01_01/index.mjs'), 'import word from "word"; export default () => word');
  fs.writeFileSync(path.join(root, '..2026_01_01/package.json'), JSON.stringify({ type: 'module', dependencies: { word: `file:${lib}` } }));
  fs.symlinkSync('..2026_01_01', path.join(root, '..data'));
  for (const name of ['index.mjs', 'package.json']) fs.symlinkSync(`..data/${name}`, path.join(root, name));
  assert.equal((await started(t, root, folder(t, {}))).text, 'Hello');
});

test('node_modules beside package.json is used as it stands', async (t) => {
  const run = await start(t, {
    'index.js': 'module.exports = () => require("own")', 'package.json': '{"dependencies":{"own":"1.0.0"}}',
    'node_modules/own/index.js': 'module.exports = "own"',
  });
  assert.equal((await run.get('/')).text, 'own');
  assert.doesNotMatch(run.stderr, /installing/);
});

test('a failed install ends with one line of npm\'s reason, after what npm said', async (t) => {
  const root = folder(t, { 'index.js': '', 'package.json': '{"dependencies":{"gone":"file:./nowhere.tgz"}}' });
  const work = folder(t, {});
  const run = launch(t, root, { KIPPER_WORK_DIR: work });
  assert.equal(await run.exited, 1);
  assert.match(run.stderr, /\nnpm \S+ code ENOENT\n/);
  assert.match(run.stderr, /\nkipper: cannot load the function: npm install failed: code ENOENT: no such file[^\n;]*nowhere\.tgz'?\n$/);
  assert.deepEqual(fs.readdirSync(work), [], 'nothing half done stays behind');
});

test('npm\'s reason is its code and the first line that says why', () => {
  const check = (lines, expected) => assert.equal(reason(lines.map((line) => `npm error ${line}\n`).join('')), expected);
  check(['code E404', '404 Not Found - GET https://registry.npmjs.org/nope - Not found', '404', '404  \'nope@1\' is not in this registry.'],
    'code E404: Not Found - GET https://registry.npmjs.org/nope - Not found');
  check(['code ETARGET', 'notarget No matching version found for left-pad@99.', 'notarget In most cases you'],
    'code ETARGET: No matching version found for left-pad@99.');
  check(['code EAI_AGAIN', 'syscall getaddrinfo', 'errno EAI_AGAIN', 'request to https://r.example/x failed, reason: getaddrinfo EAI_AGAIN r.example'],
    'code EAI_AGAIN: request to https://r.example/x failed, reason: getaddrinfo EAI_AGAIN r.example');
  check(['code ERESOLVE', 'ERESOLVE unable to resolve dependency tree', '', 'While resolving: f@1'],
    'code ERESOLVE: unable to resolve dependency tree');
  check(['code 1', 'path /w/node_modules/bcrypt', 'command failed', 'command sh -c node-gyp rebuild', 'gyp info it worked if it ends with ok'],
    'code 1: bcrypt: the command failed: sh -c node-gyp rebuild');
  check(['code ENOENT', 'syscall spawn git', 'path git', 'errno -2', 'enoent An unknown git error occurred'],
    'code ENOENT: An unknown git error occurred');
  assert.equal(reason('Killed\n'), '');
});

test('without npm the message says so', async (t) => {
  const root = folder(t, { 'index.js': '', 'package.json': '{"dependencies":{"gone":"file:./nowhere.tgz"}}' });
  const bin = folder(t, {});
  fs.symlinkSync(process.execPath, path.join(bin, 'node'));
  const run = launch(t, root, { KIPPER_WORK_DIR: folder(t, {}), PATH: bin });
  // Where npm stands beside node it is found through node's own folder; it then fails for want of the package.
  assert.equal(await run.exited, 1);
  assert.match(run.stderr, /npm (could not be started|install failed)/);
});

test('in a monorepo whose packages stand further up, nothing is installed where everything resolves', async (t) => {
  const files = {
    'node_modules/shared/package.json': '{"name":"shared","version":"1.2.3","main":"s.js"}',
    'node_modules/shared/s.js': 'module.exports = "shared"',
    'functions/hello/index.js': 'module.exports = () => require("shared")',
  };
  const declare = (dependencies) => JSON.stringify({ dependencies });
  for (const spec of ['workspace:*', '^1.0.0', '1.2.3']) {
    const root = folder(t, { ...files, 'functions/hello/package.json': declare({ shared: spec }) });
    assert.deepEqual(await started(t, path.join(root, 'functions/hello'), folder(t, {})), { text: 'shared', installed: false }, spec);
  }
  for (const dependencies of [{ shared: '1.2.4' }, { shared: '1.2.3', gone: 'file:./nowhere.tgz' }]) {
    const root = folder(t, { ...files, 'functions/hello/package.json': declare(dependencies) });
    const run = launch(t, path.join(root, 'functions/hello'), { KIPPER_WORK_DIR: folder(t, {}), npm_config_offline: 'true' });
    await run.sees(/installing \d packages? with npm/);
  }
});

test('the machine\'s settings do not send packages elsewhere', async (t) => {
  const elsewhere = folder(t, {});
  const run = launch(t, folder(t, FUNCTION), {
    KIPPER_WORK_DIR: folder(t, {}), npm_config_global: 'true', NPM_CONFIG_PREFIX: elsewhere, npm_config_dry_run: 'true',
    npm_config_package_lock_only: 'true', npm_config_omit: 'optional',
  });
  run.port = Number((await run.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/))[1]);
  assert.equal(await (await fetch(`http://127.0.0.1:${run.port}/`)).text(), 'Hello a!');
  assert.deepEqual(fs.readdirSync(elsewhere), []);
});

test('a stack shows the function\'s own paths, not those of the copy that runs', async (t) => {
  const root = folder(t, { ...FUNCTION, 'index.js': '\nmodule.exports = () => { throw new Error("boom") }' });
  const run = launch(t, root, { KIPPER_WORK_DIR: folder(t, {}) });
  const [, port] = await run.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/);
  await fetch(`http://127.0.0.1:${port}/`);
  await run.sees(new RegExp(`failed: Error: boom \\| at .*${root}/index\\.js:2:`));
});
