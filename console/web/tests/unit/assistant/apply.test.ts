import { describe, expect, test } from 'vitest';
import { isFor, isPartial, targetOf } from '../../../src/assistant/apply';
import type { CodeBlock } from '../../../src/assistant/markdown';

const block = (language: string, text = 'x\n', isClosed = true): CodeBlock => ({ kind: 'code', language, text, isClosed });

describe('which code may replace which file', () => {
  test.each<[string, string, boolean]>([
    ['index.js', 'js', true], ['index.js', 'javascript', true], ['index.mjs', 'js', true], ['index.js', 'ts', false],
    ['index.ts', 'typescript', true], ['index.ts', 'js', true], ['handler.py', 'python', true], ['handler.py', 'py', true],
    ['handler.py', 'js', false], ['index.js', 'python', false], ['index.js', '', false], ['index.js', 'bash', false], ['index.js', 'json', false],
    ['package.json', 'json', false], ['README.md', 'md', false],
  ])('%s, %s: %s', (path, language, expected) => expect(isFor(path, block(language))).toBe(expected));

  test('neither one without an end nor an empty one', () => {
    expect(isFor('index.js', block('js', 'x\n', false))).toBe(false);
    expect(isFor('index.js', block('js', ' \n'))).toBe(false);
  });

  test('the file that is shown comes first', () => {
    expect(targetOf(['lib/a.js', 'index.js'], block('js'))).toBe('lib/a.js');
    expect(targetOf(['package.json', 'index.js'], block('js'))).toBe('index.js');
    expect(targetOf(['package.json', 'index.js'], block('sh'))).toBeNull();
  });
});

// The same lines as in `reply.rs`: both sides have the same rule.
describe('a block that leaves something out', () => {
  test.each([
    '// ...', '  // rest of the code unchanged', '# ... existing code ...', '#...', '/* ... */', '// \u2026', '// ... (rest of the handler)',
    '# The rest of your code remains the same', '// ... same as before', '/* existing code */', '...', '// \u2026 unchanged', '// previous code here', '-- ... rest',
  ])('%s', (line) => expect(isPartial(block('js', `const a = 1\n${line}\nconst b = 2\n`))).toBe(true));

  test.each([
    'const rest = [...items]', '  ...options,', 'f(...args)', '// wait for the rest', '# Loading...', '// unchanged rows are skipped',
    "const text = '... existing code ...'", '# the same key twice', '// retry, then give up ...', '#!/usr/bin/env python3',
  ])('not %s', (line) => expect(isPartial(block('js', line))).toBe(false));

  test('three dots are a statement of Python', () => {
    expect(isPartial(block('python', 'class A(Protocol):\n    def f(self):\n        ...\n'))).toBe(false);
  });
});
