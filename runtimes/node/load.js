'use strict';
// Finds the function's file, reads its package.json and picks the handler out of what the file exports.

const fs = require('node:fs');
const path = require('node:path');

const CHECK_MS = 5_000;
const ENTRIES = ['index.js', 'index.mjs', 'index.cjs', 'index.ts', 'index.mts', 'index.cts'];
const TYPESCRIPT = /\.[mc]?ts$/;

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
    return JSON.parse(text.replace(/^\ufeff/, '')); // npm takes the byte order mark as well
  } catch (error) {
    throw new LoadError(`${file} is not valid JSON: ${error.message}`);
  }
}

/**
 * A node_modules beside package.json is the owner's own installation and is used as it stands. In a monorepo packages
 * stand in a folder further up: where everything that is declared is found on the way, as `require` will find it,
 * nothing is installed.
 */
function needsInstall(root, manifest) {
  const declared = { ...manifest?.dependencies, ...manifest?.optionalDependencies };
  if (Object.keys(declared).length === 0 || fs.existsSync(path.join(root, 'node_modules'))) return false;
  return !Object.entries(declared).every(([name, spec]) => isInstalledAbove(root, name, spec));
}

const EXACT_VERSION = /^=?v?(\d+\.\d+\.\d+(?:[-+].*)?)$/;

/** Whether the nearest package of that name is there, and is the version where one is pinned. */
function isInstalledAbove(root, name, spec) {
  for (let folder = path.dirname(root); ; folder = path.dirname(folder)) {
    const found = path.join(folder, 'node_modules', name);
    if (fs.existsSync(found)) {
      const pinned = EXACT_VERSION.exec(spec)?.[1];
      return pinned === undefined || readManifest(found)?.version === pinned;
    }
    if (folder === path.dirname(folder)) return false;
  }
}

async function loadHandler(file, manifest, name) {
  const exported = await loadModule(file, manifest);
  const handler = name ? pickNamed(exported, name) : pick(exported);
  if (handler) return checked(handler, file);
  if (name) throw new LoadError(`${file} exports no function called ${name}`);
  throw new LoadError(`${file} exports no handler: expected module.exports = async (event, context) => …, `
    + 'exports.handler or export default');
}

/** What would be called in vain with every request is refused once. Default and rest parameters do not count. */
function checked(handler, file) {
  if (handler.length > 2) {
    throw new LoadError(`the handler in ${file} must take at most two arguments, (event, context): there is no callback, `
      + 'return the answer or a promise of it');
  }
  if (Function.prototype.toString.call(handler).startsWith('class')) {
    throw new LoadError(`the handler in ${file} is a class: export a function, or an instance's method`);
  }
  return handler;
}

async function loadModule(file, manifest) {
  if (TYPESCRIPT.test(file) && !process.features.typescript) {
    throw new LoadError(`${file} is TypeScript, whose types Node ${process.version} does not strip: use Node 22.18 or `
      + 'newer, or make JavaScript of it, for example with '
      + `npx esbuild ${path.basename(file)} --bundle --platform=node --outfile=index.js`);
  }
  if (!declaredAsModule(file, manifest)) {
    try {
      return require(file);
    } catch (error) {
      // Refused before a line of it ran: an ES module that this Node version, or its top-level await, keeps from require.
      if (error?.code !== 'ERR_REQUIRE_ESM' && error?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    }
  }
  return import(require('node:url').pathToFileURL(file).href).catch((error) => {
    if (error instanceof SyntaxError) showPlace(error, file);
    throw error;
  });
}

/** An ES module's syntax error says nowhere where it is; Node's own check of the file does. */
function showPlace(error, file) {
  const { spawnSync } = require('node:child_process');
  const { stderr } = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8', timeout: CHECK_MS });
  const [, place, message] = /^((?:file:\/\/)?\/.*:\d+\n[^]*?)SyntaxError: (.*)\n/.exec(stderr ?? '') ?? [];
  if (message === error.message) error.stack = `${place}${error.stack}`;
}

function declaredAsModule(file, manifest) {
  const extension = path.extname(file);
  return /^\.m[jt]s$/.test(extension) || (/^\.[jt]s$/.test(extension) && manifest?.type === 'module');
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
