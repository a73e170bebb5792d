import { expect, test } from 'vitest';
import { matcher } from '../../../src/logs/search';

// The same table as in cli/client/src/logs/search.rs.
test.each([
  ['', 'anything', true],
  ['error', 'ERROR: no', true],
  ['ErRoR', 'an error', true],
  ['a.*[b]', 'x A.*[B] y', true],
  ['a.*[b]', 'a1b', false],
  ['\\d', '7', false],
  ['é', 'É', true],
  ['straße', 'STRASSE', false],
  ['σ', 'ΟΔΟς', true],
  ['日本', 'in 日本', true],
  ['a b', 'a  b', false],
])('%j in %j', (search, line, expected) => {
  expect(matcher(search)(line)).toBe(expected);
});

test('every character of a pattern is text', () => {
  const text = '^$\\.*+?()[]{}|/-#&~ \t"\'`';
  expect(matcher(text)(`<${text}>`)).toBe(true);
});
