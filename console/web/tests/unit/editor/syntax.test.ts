import { describe, expect, test } from 'vitest';
import { languageFor } from '../../../src/editor/language';
import { syntaxProblems } from '../../../src/editor/syntax';

async function problems(path: string, text: string): Promise<string[]> {
  const parser = (await languageFor(path))?.parser;
  if (!parser) throw new Error(`no parser for ${path}`);
  return syntaxProblems(path, parser.parse(text), text).map(({ from, to, message }) => {
    expect(to).toBeGreaterThanOrEqual(from);
    const before = text.slice(0, from).split('\n');
    return `${before.length}:${(before.at(-1) ?? '').length + 1} ${message}`;
  });
}

describe('errors', () => {
  test.each<[string, string, string[]]>([
    ['index.js', 'module.exports = async (event) => {\n  return 1', ['2:10 Syntax error: “}” expected for the “{” in line 1.']],
    ['index.js', 'foo(1', ['1:5 Syntax error: “)” expected for the “(” in line 1.']],
    ['index.js', 'const s = "abc\nlet a = 1', ['1:11 This string is not closed.']],
    ['index.js', 'x = {a: 1, b: }', ['1:15 Syntax error: “}” is not expected here.']],
    ['index.js', 'const = 1', ['1:7 Syntax error: “=” is not expected here.']],
    ['index.js', 'let a b\nlet c', ['1:7 Syntax error: “b” is not expected here.']],
    ['handler.py', 's = "abc\n', ['1:5 This string is not closed.']],
    ['handler.py', 'x = = 1', ['1:5 Syntax error: “=” is not expected here.']],
    ['handler.py', 'def handler(\n', ['1:12 Syntax error: “)” expected for the “(” in line 1.']],
  ])('%s %j', async (path, text, expected) => expect(await problems(path, text)).toEqual(expected));
});

describe('correct code has none', () => {
  test.each<[string, string]>([
    ['index.js', '#!/usr/bin/env node\nawait 1; a ??= b?.[c]; class A { #x = 1; static { } get y() { return this.#x } }'],
    ['index.js', 'let k;(text.value) += 1; ({ a: x.b, c: y } = z); for await (const a of b) {} label: for (;;) break label'],
    ['index.js', 'f({ a: o.b } = mods); const { a = 1, ...rest } = b; const t = `a ${`b ${c}`}`; /[/]"/u.test(s)'],
    ['index.js', "const a = '\\'', b = \"\\\"\", c = 'a\\\nb'"],
    ['index.ts', 'import type { A } from "a"; export default async (e: A, c?: unknown): Promise<void> => { let x = e as any satisfies A; }'],
    ['handler.py', 'def handler(event, context=None):\n    yield\n    x = yield\n    return 24.*3. + 20.\n'],
    ['handler.py', 'with (open(a) as b, open(c) as d):\n    pass\nwith f() as (a, b):\n    pass\n'],
    ['handler.py', 'match x:\n    case A():\n        pass\n    case [1, *rest] if rest:\n        pass\n    case (str(), "in", B() | C()):\n        pass\n'],
    ['handler.py', 'x = f"{a!r:>{w}} {"b"}"\ny = rb"\\""\nz = """a\n"b" """\nw = \'\'\n'],
    ['handler.py', 'type X = int\ndef f[T](x: T) -> T: ...\nasync def g():\n    async with a as b: await b\ntry:\n    pass\nexcept* (A, B) as e:\n    raise X from e\n'],
    ['handler.py', 'import a\n\n\f\ndef b(): pass\n'],
  ])('%s %j', async (path, text) => expect(await problems(path, text)).toEqual([]));
});

test('a file of no known language is not judged', async () => expect(await languageFor('a.yaml')).toBeNull());

test('a wall of errors is cut', async () => {
  expect((await problems('index.js', 'let = ;\n'.repeat(500))).length).toBeLessThanOrEqual(20);
});
