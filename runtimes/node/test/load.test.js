'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { folder, launch, start } = require('./harness');

const shapes = {
  'module.exports': 'module.exports = async (event, context) => "x"',
  'sync function': 'module.exports = () => "x"',
  'module.exports.default': 'module.exports.default = async () => "x"',
  'exports.handler': 'exports.handler = async () => "x"',
  'index.mjs': { 'index.mjs': 'export default async () => "x"' },
  'index.cjs': { 'index.cjs': 'module.exports = async () => "x"' },
  'export const handler': { 'index.mjs': 'export const handler = async () => "x"' },
  'type module': { 'package.json': '{"type":"module"}', 'index.js': 'export default async () => "x"' },
  'ESM without package.json': 'import os from "node:os"; export default async () => os.EOL && "x"',
  'ESM with package.json without type': { 'package.json': '{"name":"f"}', 'index.js': 'export default async () => "x"' },
  'top-level await': { 'index.js': 'const x = await Promise.resolve("x"); export default () => x' },
  'compiled default': 'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = async () => "x"',
  'package.json main': { 'package.json': '{"main":"lib/f.js"}', 'lib/f.js': 'module.exports = require("./g")', 'lib/g.js': 'module.exports = () => "x"' },
};

for (const [name, files] of Object.entries(shapes)) {
  test(`loads ${name}`, async (t) => {
    const run = await start(t, files);
    const answer = await run.get('/');
    assert.equal(answer.text, 'x');
    assert.match(run.stderr, /^kipper: listening [^\n]+\n$/, 'one line and no warnings');
  });
}

test('loads a function given as a file', async (t) => {
  const run = launch(t, `${folder(t, { 'greet.js': 'module.exports = () => "hi"' })}/greet.js`);
  await run.sees(/listening .*greet\.js/);
});

test('loads the function that KIPPER_HANDLER names', async (t) => {
  const files = 'exports.handler = () => "handler"; exports.greet = () => "greet"';
  assert.equal((await (await start(t, files, { KIPPER_HANDLER: 'greet' })).get('/')).text, 'greet');
  const wrong = launch(t, folder(t, files), { KIPPER_HANDLER: 'missing' });
  assert.equal(await wrong.exited, 1);
  assert.match(wrong.stderr, /^kipper: cannot load the function: .*index\.js exports no function called missing\n$/);
});

const broken = {
  'a syntax error': ['module.exports = async ( => 1', /^kipper: cannot load the function: Unexpected token.*\n[^]*index\.js:1/],
  'a throwing module': ['throw new Error("no database")', /^kipper: cannot load the function: no database\nError: no database\n +at .*index\.js:1/],
  'no handler': ['exports.value = 1', /^kipper: cannot load the function: .*index\.js exports no handler: expected .*\n$/],
  'no file': [{ 'other.js': '' }, /^kipper: cannot load the function: .* holds none of index\.js, index\.mjs, index\.cjs\n$/],
  'a missing package': ['require("left-out")', /^kipper: cannot load the function: Cannot find module 'left-out'/],
  'bad package.json': [{ 'index.js': '', 'package.json': '{' }, /^kipper: cannot load the function: .*package\.json is not valid JSON/],
  'an endless top level': [{ 'index.mjs': 'await new Promise(() => {}); export default 1' }, /never finished loading/],
};

for (const [name, [files, expected]] of Object.entries(broken)) {
  test(`refuses ${name}`, async (t) => {
    const run = launch(t, folder(t, files));
    assert.equal(await run.exited, 1);
    assert.match(run.stderr, expected);
  });
}

test('refuses a path that does not exist', async (t) => {
  const run = launch(t, '/nonexistent/function');
  assert.equal(await run.exited, 1);
  assert.equal(run.stderr, 'kipper: cannot load the function: /nonexistent/function does not exist\n');
});

for (const [name, value] of [['PORT', '70000'], ['KIPPER_MAX_BODY', '1k'], ['KIPPER_MODE', 'cron']]) {
  test(`refuses ${name}=${value} with exit code 64`, async (t) => {
    const run = launch(t, folder(t, 'module.exports = () => 1'), { [name]: value });
    assert.equal(await run.exited, 64);
    assert.match(run.stderr, new RegExp(`^kipper: ${name} must be .*"${value}"\\n$`));
  });
}

test('a port that is taken is one line and exit code 1', async (t) => {
  const first = await start(t, 'module.exports = () => 1');
  const second = launch(t, folder(t, 'module.exports = () => 1'), { PORT: String(first.port) });
  assert.equal(await second.exited, 1);
  assert.match(second.stderr, /^kipper: cannot listen: .*EADDRINUSE.*\n$/);
});
