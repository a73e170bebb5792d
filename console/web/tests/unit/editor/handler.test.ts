import { describe, expect, test } from 'vitest';
import { handlerProblem } from '../../../src/editor/handler';
import { languageFor } from '../../../src/editor/language';
import { entryOf } from '../../../src/editor/paths';

async function has(path: string, text: string, wanted?: string): Promise<boolean> {
  const parser = (await languageFor(path))?.parser;
  if (!parser) throw new Error(`no parser for ${path}`);
  return handlerProblem(path, parser.parse(text), text, wanted) === null;
}

describe('handlers', () => {
  test.each<[string, string, string | undefined, boolean]>([
    ['index.js', 'module.exports = async (event) => {}', undefined, true],
    ['index.js', 'module.exports = handler', undefined, true],
    ['index.js', 'exports.handler = () => {}', undefined, true],
    ['index.js', 'module.exports.handler = f', undefined, true],
    ['index.js', "module.exports['handler'] = f", undefined, true],
    ['index.js', 'module.exports = { handler, other: 1 }', undefined, true],
    ['index.js', 'module.exports = { handler: async () => {} }', undefined, true],
    ['index.js', 'module.exports = { async handler() {} }', undefined, true],
    ['index.js', 'module.exports = { ...others }', undefined, true],
    ['index.js', 'module.exports = { other }', undefined, false],
    ['index.js', 'module.exports = { other }', 'other', true],
    ['index.js', 'export default () => 1', undefined, true],
    ['index.js', 'export default async function (event) {}', undefined, true],
    ['index.js', 'export const handler = 1', undefined, true],
    ['index.js', 'export async function handler() {}', undefined, true],
    ['index.js', 'export { f as handler }', undefined, true],
    ['index.js', 'export { f as default }', undefined, true],
    ['index.js', 'export { handler as f }', undefined, false],
    ['index.js', 'export * from "./other.js"', undefined, true],
    ['index.js', 'Object.assign(module.exports, { handler })', undefined, true],
    ['index.js', 'exports = handler', undefined, false],
    ['index.js', 'exports.run = f', undefined, false],
    ['index.js', 'exports.run = f', 'run', true],
    ['index.js', '// module.exports = 1\nconst s = "export default"', undefined, false],
    ['index.js', '   \n', undefined, false],
    ['index.ts', 'export default async (event: unknown): Promise<void> => {}', undefined, true],
    ['handler.py', 'def handler(event, context=None):\n  pass', undefined, true],
    ['handler.py', 'async def main(): pass', undefined, true],
    ['handler.py', '@wrapped\ndef handle(e): pass', undefined, true],
    ['handler.py', 'if X:\n  def handler(e): pass', undefined, true],
    ['handler.py', 'handler = make()', undefined, true],
    ['handler.py', 'a = handler = make()', undefined, true],
    ['handler.py', 'from lib import handler', undefined, true],
    ['handler.py', 'from lib import run as handler', undefined, true],
    ['handler.py', 'from lib import handler as run', undefined, false],
    ['handler.py', 'from lib import *', undefined, true],
    ['handler.py', 'def f():\n  def handler(): pass', undefined, false],
    ['handler.py', 'class A:\n  def handler(self): pass', undefined, false],
    ['handler.py', 'def run(e): pass', 'run', true],
    ['handler.py', '# def handler(): pass', undefined, false],
  ])('%s %j %s %s', async (path, text, wanted, expected) => expect(await has(path, text, wanted)).toBe(expected));
});

describe('the file with the handler', () => {
  test.each<[Parameters<typeof entryOf>[0], Record<string, string>, string | null]>([
    ['node', { 'index.js': '', 'lib/a.js': '' }, 'index.js'],
    ['node', { 'index.ts': '' }, 'index.ts'],
    ['node', { 'package.json': '{"main": "./src/app.js"}', 'src/app.js': '', 'index.js': '' }, 'src/app.js'],
    ['node', { 'package.json': '{"main": "gone.js"}', 'index.mjs': '' }, 'index.mjs'],
    ['node', { 'package.json': '{', 'index.js': '' }, 'index.js'],
    ['node', { 'other.js': '' }, null],
    ['python', { 'handler.py': '' }, 'handler.py'],
    ['python', { 'main.py': '' }, null],
  ])('%s %j', (runtime, files, expected) => expect(entryOf(runtime, files)).toBe(expected));
});
