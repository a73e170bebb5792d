import { describe, expect, test } from 'vitest';
import { declaredIn, entryFile, filesOf, nameProblem, tabsOf } from '../../../src/editor/files';

test('a single text is shown as the file of its runtime', () => {
  expect(filesOf({ code: 'x' }, 'node')).toEqual({ 'index.js': 'x' });
  expect(filesOf(undefined, 'python')).toEqual({ 'handler.py': '' });
  expect(entryFile({ code: 'x' }, 'python')).toBe('handler.py');
});

test('the handler’s file is the first tab', () => {
  const files = { 'a.js': '', 'index.js': '', 'package.json': '' };
  expect(tabsOf(files, entryFile({ files }, 'node'))).toEqual(['index.js', 'a.js', 'package.json']);
});

describe('names of files', () => {
  const files = { 'index.js': '', 'lib/a.js': '' };
  test.each<[string, boolean]>([
    ['lib/b.js', true],
    ['.npmrc', true],
    ['a b.txt', true],
    ['', false],
    ['index.js', false],
    ['/a.js', false],
    ['lib/', false],
    ['../a.js', false],
    ['a//b.js', false],
    ['lib', false],
    ['index.js/a', false],
    ['a\\b.js', false],
    ['a'.repeat(254), false],
  ])('%j', (name, isGood) => expect(nameProblem(name, files) === null).toBe(isGood));

  test('a file may keep its name, and move within its own', () => {
    expect(nameProblem('index.js', files, 'index.js')).toBeNull();
    expect(nameProblem('lib/a.js/b.js', files, 'lib/a.js')).toBeNull();
  });
});

test('packages of a manifest', () => {
  expect(declaredIn({ 'package.json': '{"dependencies": {"pg": "8"}, "optionalDependencies": {"x": "1"}}' }, 'node')).toEqual(['pg', 'x']);
  expect(declaredIn({ 'package.json': '{' }, 'node')).toEqual([]);
  expect(declaredIn({ 'requirements.txt': '# none\nPyYAML==6\n  httpx>=1\n-r other.txt\n' }, 'python')).toEqual(['PyYAML', 'httpx']);
  expect(declaredIn({}, 'node')).toBeNull();
});
