'use strict';
// Installs a function's declared packages with npm, once per set of them, and puts a copy of the function's files
// where they resolve. Required only when there is something to install.
//
//   <work dir>/node-<key>/node_modules      one installation per manifest, Node version and place
//   <work dir>/node-<key>/code-<hash>/      the function's files, one folder per version of them
//
// Both are filled under a temporary name and renamed into place: what carries the final name is complete, an
// interrupted install leaves only rubbish behind, and of several starts at once the first rename wins.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { createHash, randomUUID } = require('node:crypto');
const { LoadError } = require('./load');
const { log } = require('./log');

// A function is a handful of files; a bound turns "started in the wrong folder" into a message.
const MAX_FILES = 10_000;
const MAX_OUTPUT = 64 * 1024;
const MAX_REASON = 400;
const STAMP = '.kipper-complete';

async function prepare(found, manifest, config) {
  const work = config.workDir ? path.resolve(config.workDir) : path.join(os.tmpdir(), 'kipper-functions');
  const { wanted, key } = plan(found.root, manifest);
  const installed = path.join(work, `node-${key}`);
  if (!fs.existsSync(path.join(installed, STAMP))) {
    const started = Date.now();
    const count = Object.keys({ ...wanted.dependencies, ...wanted.optionalDependencies }).length;
    log(`installing ${count} ${count === 1 ? 'package' : 'packages'} with npm`);
    await fill(installed, (folder) => install(folder, found.root, wanted, config));
    log(`installed in ${Date.now() - started} ms`);
  }
  const files = listFiles(found.root);
  const code = path.join(installed, `code-${hashFiles(found.root, files)}`);
  if (!fs.existsSync(path.join(code, STAMP))) await fill(code, (folder) => copyFiles(found.root, files, folder));
  return { root: code, file: path.join(code, path.relative(found.root, found.file)) };
}

/** The manifest to install, its local packages made absolute, and the key that names its installation. */
function plan(root, manifest) {
  const wanted = { name: 'kipper-function', private: true };
  const hash = createHash('sha256').update([root, process.version, process.platform, process.arch].join('\0'));
  for (const field of ['dependencies', 'optionalDependencies']) {
    if (!manifest[field]) continue;
    wanted[field] = {};
    for (const [name, spec] of Object.entries(manifest[field])) {
      const local = localFolder(root, spec);
      wanted[field][name] = local ? `file:${local}` : spec;
      if (local && fs.existsSync(local)) hash.update(hashFiles(local, listFiles(local)));
    }
  }
  if (manifest.overrides) wanted.overrides = manifest.overrides;
  hash.update(JSON.stringify(wanted));
  for (const name of ['package-lock.json', '.npmrc']) {
    if (fs.existsSync(path.join(root, name))) hash.update(fs.readFileSync(path.join(root, name)));
  }
  return { wanted, key: hash.digest('hex').slice(0, 16) };
}

function localFolder(root, spec) {
  const match = /^(?:file:(?:\/\/(?=\/))?|(?=\.{1,2}\/|\/))(.+)$/.exec(spec);
  return match ? path.resolve(root, match[1]) : null;
}

async function fill(target, work) {
  const folder = `${target}.${randomUUID()}.tmp`;
  fs.mkdirSync(folder, { recursive: true });
  try {
    await work(folder);
    fs.writeFileSync(path.join(folder, STAMP), '');
    fs.renameSync(folder, target);
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true });
    // Somebody else's start finished first; theirs is as good as ours.
    if (!fs.existsSync(path.join(target, STAMP))) throw error;
  }
}

async function install(folder, root, wanted, config) {
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify(wanted, null, 2));
  for (const name of ['package-lock.json', '.npmrc']) {
    const file = path.join(root, name);
    if (fs.existsSync(file)) fs.copyFileSync(file, path.join(folder, name));
  }
  // Local packages are copied, not linked, so that their own dependencies resolve. Install scripts run: native
  // packages need them, and they can do no more here than the package's code can one moment later.
  const args = ['install', '--omit=dev', '--no-audit', '--no-fund', '--no-update-notifier', '--install-links',
    '--prefer-offline', '--loglevel=error'];
  const { code, output, timedOut } = await runNpm(args, folder, config.installMs);
  if (timedOut) throw new LoadError(`npm install did not finish within ${config.installMs / 1000} s (KIPPER_INSTALL_SECONDS)`);
  if (code !== 0) throw Object.assign(new LoadError(`npm install failed: ${reason(output) || `exit code ${code}`}`), { detail: output });
}

function runNpm(args, cwd, timeoutMs) {
  // npm is a Node script: this very Node goes first on its path, whatever else the machine has.
  const env = { ...withoutRedirections(process.env), PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH ?? ''}` };
  if (!writable(os.homedir()) && !env.npm_config_cache) env.npm_config_cache = path.join(path.dirname(cwd), 'npm-cache');
  return new Promise((resolve, reject) => {
    const child = spawn('npm', args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const stop = () => child.kill('SIGKILL');
    process.once('exit', stop);
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => { timedOut = true; stop(); }, timeoutMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { output = (output + text).slice(-MAX_OUTPUT); });
    }
    child.once('error', (error) => reject(new LoadError(`npm could not be started: ${error.message}`)));
    child.once('close', (code) => {
      clearTimeout(timer);
      process.off('exit', stop);
      resolve({ code, output, timedOut });
    });
  });
}

// Settings of the machine that would send the packages elsewhere, or nowhere. Registry, proxy and credentials stay.
const REDIRECTIONS = new Set(['global', 'location', 'prefix', 'local_prefix', 'global_prefix', 'dry_run', 'package_lock_only',
  'workspace', 'workspaces', 'include_workspace_root', 'only', 'omit', 'production', 'json']);

function withoutRedirections(env) {
  const redirects = (name) => /^npm_config_/i.test(name)
    && REDIRECTIONS.has(name.slice('npm_config_'.length).toLowerCase().replaceAll('-', '_'));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !redirects(name)));
}

/** npm's code and the first line that says why; the whole of what it said is the error's detail. */
function reason(output) {
  const lines = output.split('\n').map((line) => /^npm (?:error|ERR!) (.+)$/.exec(line)?.[1].trim()).filter(Boolean);
  const field = (name) => lines.find((line) => line.startsWith(`${name} `) && line !== 'command failed')?.slice(name.length + 1);
  const code = field('code');
  const script = lines.includes('command failed') && field('command');
  const place = script && field('path')?.split('/node_modules/').at(-1);
  // Each of npm's lines begins with a word of its own for the code: `404`, `notarget`, `enoent`.
  const why = script ? `${place ? `${place}: ` : ''}the command failed: ${script}`
    : lines.find((line) => !/^(?:code|syscall|path|dest|errno|command) /.test(line) && /\s/.test(line))
      ?.replace(/^(?:[a-z]+|\d+) +(?=[A-Z])/, '');
  // Some repeat the code.
  const rest = code && why?.startsWith(code) ? why.slice(code.length).replace(/^:? +/, '') : why;
  return [code && `code ${code}`, rest].filter(Boolean).join(': ').slice(0, MAX_REASON);
}

function writable(folder) {
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The function's files, relative and sorted. A mounted ConfigMap keeps its versions under names that start with "..". */
function listFiles(root, folder = '', found = []) {
  for (const name of fs.readdirSync(path.join(root, folder)).sort()) {
    if (name === 'node_modules' || name === '.git' || name.startsWith('..')) continue;
    const relative = path.join(folder, name);
    const stat = fs.statSync(path.join(root, relative), { throwIfNoEntry: false });
    if (stat?.isDirectory()) listFiles(root, relative, found);
    else if (stat?.isFile()) found.push(relative);
    if (found.length > MAX_FILES) throw new LoadError(`${root} holds more than ${MAX_FILES} files: not a function's folder`);
  }
  return found;
}

function hashFiles(root, files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const bytes = fs.readFileSync(path.join(root, file));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex').slice(0, 16);
}

function copyFiles(root, files, target) {
  for (const file of files) {
    fs.mkdirSync(path.join(target, path.dirname(file)), { recursive: true });
    fs.copyFileSync(path.join(root, file), path.join(target, file));
  }
}

module.exports = { prepare, reason };
