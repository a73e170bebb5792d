import { expect, test } from 'vitest';
import { differenceOf } from '../../../src/editor/difference';

test.each([
  ['', ''],
  ['', 'abc'],
  ['abc', ''],
  ['aaa', 'aaaa'],
  ['aaaa', 'aaa'],
  ['let a = 1;\n', 'let ab = 1;\n'],
  ['abcabc', 'abc'],
  ['one\ntwo\nthree', 'one\n2\nthree'],
])('%j becomes %j', (old, text) => {
  const found = differenceOf(old, text);
  if (found === null) return expect(old).toBe(text);
  expect(old.slice(0, found.from) + found.insert + old.slice(found.to)).toBe(text);
  expect(found.to).toBeGreaterThanOrEqual(found.from);
});

test('the range is the smallest', () => {
  expect(differenceOf('let a = 1', 'let abc = 1')).toEqual({ from: 5, to: 5, insert: 'bc' });
});
