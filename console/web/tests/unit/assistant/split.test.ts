import { expect, test } from 'vitest';
import { bounded, MAX_SHARE, MIN_SHARE, shareAfter } from '../../../src/assistant/split';

test('keys move the divider, within its bounds', () => {
  expect(shareAfter('ArrowLeft', 50)).toBe(48);
  expect(shareAfter('ArrowRight', 50)).toBe(52);
  expect(shareAfter('Home', 50)).toBe(MIN_SHARE);
  expect(shareAfter('End', 50)).toBe(MAX_SHARE);
  expect(shareAfter('ArrowLeft', MIN_SHARE)).toBe(MIN_SHARE);
  expect(shareAfter('ArrowRight', MAX_SHARE)).toBe(MAX_SHARE);
  expect(shareAfter('Tab', 50)).toBeNull();
  expect([-10, 55.4, 200].map(bounded)).toEqual([MIN_SHARE, 55, MAX_SHARE]);
});
