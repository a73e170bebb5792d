/**
 * Writes src/editor/builtins.json: the modules that come with Node and Python, which nobody has to install.
 * Names that stand there already stay, because they may be those of another version than the one that runs here.
 *
 *     node scripts/builtins.mjs
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const FILE = new URL('../src/editor/builtins.json', import.meta.url);

/** The names that the interpreters on this machine have. */
export function running() {
  const program = 'import json, sys; print(json.dumps(sorted(sys.stdlib_module_names)))';
  const node = builtinModules.map((name) => name.replace(/^node:/, '').split('/')[0]);
  return { node: [...new Set(node)], python: JSON.parse(execFileSync('python3', ['-c', program], { encoding: 'utf8' })) };
}

function write() {
  const known = existsSync(FILE) ? JSON.parse(readFileSync(FILE, 'utf8')) : { node: [], python: [] };
  const found = running();
  const merged = (key) => [...new Set([...known[key], ...found[key]])].sort();
  writeFileSync(FILE, `${JSON.stringify({ node: merged('node'), python: merged('python') }, null, 1)}\n`);
}

if (argv[1] === fileURLToPath(import.meta.url)) write();
