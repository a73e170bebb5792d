/** The rules that the page has beside the server, against the server's own sources: they must not drift apart. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isFor, isPartial } from '../../../src/assistant/apply';
import { EXTENSIONS, KEY_EXTENSIONS, KEY_NAMES, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, NAMES } from '../../../src/assistant/attachments';
import { RULES_TOKENS, tokensOf } from '../../../src/assistant/estimate';

const crate = new URL('../../../../assistant/', import.meta.url);
const source = (path: string): string => readFileSync(new URL(path, crate), 'utf8');

/** The texts of a list in Rust. */
function listOf(path: string, name: string): string[] {
  const list = new RegExp(`const ${name}: [^=]*=\\s*\\[([^\\]]*)\\]`).exec(source(path))?.[1] ?? '';
  const texts = [...list.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? '');
  expect(texts.length, name).toBeGreaterThan(0);
  return texts.sort();
}

describe('attachments', () => {
  test.each<[string, ReadonlySet<string>]>([
    ['EXTENSIONS', EXTENSIONS],
    ['NAMES', NAMES],
    ['KEY_EXTENSIONS', KEY_EXTENSIONS],
    ['KEY_NAMES', KEY_NAMES],
  ])('%s', (name, own) => expect([...own].sort()).toEqual(listOf('src/limits.rs', name)));

  test('limits', () => {
    const [, fileBytes, allBytes, files] = /MAX_FILE_BYTES: usize = ([^;]+);[\s\S]*MAX_ATTACHED_BYTES: usize = ([^;]+);[\s\S]*MAX_FILES: usize = ([^;]+);/.exec(source('src/limits.rs')) ?? [];
    expect([fileBytes, allBytes, files]).toEqual(['256 << 10', '1 << 20', '20']);
    expect([MAX_FILE_BYTES, MAX_TOTAL_BYTES, MAX_FILES]).toEqual([256 << 10, 1 << 20, 20]);
  });
});

test('what says that something was left out', () => {
  for (const words of listOf('src/reply.rs', 'OMISSIONS')) expect(isPartial({ kind: 'code', language: 'js', text: `// ${words}\n`, isClosed: true }), words).toBe(true);
  for (const word of listOf('src/reply.rs', 'WORDS')) expect(isPartial({ kind: 'code', language: 'js', text: `# ... ${word}\n`, isClosed: true }), word).toBe(true);
});

test('what the model is told to call its code is for the editor', () => {
  for (const [language, path] of [['javascript', 'index.js'], ['python', 'handler.py']] as const) {
    expect(source('src/prompt.rs')).toContain(`"${language}"`);
    expect(isFor(path, { kind: 'code', language, text: 'x\n', isClosed: true })).toBe(true);
  }
});

describe('the estimate of tokens', () => {
  const counted = [...source('tests/it/estimates.rs').matchAll(/include_str!\("\.\.\/prompts\/(\w+\.txt)"\), (\d+), (\d+)\)/g)];

  test('there are texts that were counted', () => expect(counted.length).toBeGreaterThanOrEqual(10));

  test.each(counted.map((match) => [match[1] ?? '', Number(match[2]), Number(match[3])] as const))('%s', (file, one, other) => {
    const estimate = tokensOf(source(`tests/prompts/${file}`));
    for (const count of [one, other]) expect(Math.abs(estimate / count - 1)).toBeLessThanOrEqual(0.25);
  });

  test.each(['node', 'python'])('the rules for %s', (runtime) => {
    const rules = tokensOf(source('src/prompt/rules.md')) + tokensOf(source(`src/prompt/${runtime}.md`));
    expect(Math.abs(RULES_TOKENS / rules - 1)).toBeLessThan(0.1);
  });
});
