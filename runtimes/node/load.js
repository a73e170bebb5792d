'use strict';
// Finds the function's file, reads its package.json and picks the handler out of what the file exports.

const fs = require('node:fs');
const path = require('node:path');

const ENTRIES = ['index.js', 'index.mjs', 'index.cjs'];

/** A failure whose message says everything: no stack is printed for it. */
class LoadError extends Error {
  expected = true;
}

function locate(functionPath) {
  const full = path.resolve(functionPath);
  const stat = fs.statSync(full, { throwIfNoEntry: false });
  if (!stat) throw new LoadError(`${full} does not exist`);
  if (stat.isFile()) return { root: path.dirname(full), file: full };
  const { main } = readManifest(full) ?? {};
  for (const name of typeof main === 'string' ? [main, ...ENTRIES] : ENTRIES) {
    const file = path.join(full, name);
    if (fs.statSync(file, { throwIfNoEntry: false })?.isFile()) return { root: full, file };
  }
  throw new LoadError(`${full} holds none of ${ENTRIES.join(', ')}`);
}

function readManifest(root) {
  const file = path.join(root, 'package.json');
  let text;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LoadError(`${file} is not valid JSON: ${error.message}`);
  }
}

/** A node_modules beside package.json is the owner's own installation and is used as it stands. */
function needsInstall(root, manifest) {
  const declared = { ...manifest?.dependencies, ...manifest?.optionalDependencies };
  return Object.keys(declared).length > 0 && !fs.existsSync(path.join(root, 'node_modules'));
}

async function loadHandler(file, manifest, name) {
  const exported = await loadModule(file, manifest);
  const handler = name ? pickNamed(exported, name) : pick(exported);
  if (handler) return handler;
  if (name) throw new LoadError(`${file} exports no function called ${name}`);
  throw new LoadError(`${file} exports no handler: expected module.exports = async (event, context) => …, `
    + 'exports.handler or export default');
}

async function loadModule(file, manifest) {
  if (!declaredAsModule(file, manifest)) {
    try {
      return require(file);
    } catch (error) {
      // Refused before a line of it ran: an ES module that this Node version, or its top-level await, keeps from require.
      if (error?.code !== 'ERR_REQUIRE_ESM' && error?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    }
  }
  return import(require('node:url').pathToFileURL(file).href);
}

function declaredAsModule(file, manifest) {
  const extension = path.extname(file);
  return extension === '.mjs' || (extension === '.js' && manifest?.type === 'module');
}

function pick(exported) {
  if (typeof exported === 'function') return exported;
  // The second look is for compilers that wrap a CommonJS `exports.default` or `exports.handler` into a default.
  for (const candidate of [exported?.default, exported?.handler, exported?.default?.default, exported?.default?.handler]) {
    if (typeof candidate === 'function') return candidate;
  }
  return null;
}

function pickNamed(exported, name) {
  return [exported?.[name], exported?.default?.[name]].find((candidate) => typeof candidate === 'function') ?? null;
}

module.exports = { locate, readManifest, needsInstall, loadHandler, LoadError };
