import { expect, test } from 'vitest';
import { isAtEnd, MAX_ROWS, ROW, sliceAt } from '../../../src/logs/window';

test.each([
  [0, 400, 10_000],
  [5_000, 400, 10_000],
  [10_000 * ROW - 400, 400, 10_000],
  [1e9, 400, 10_000],
  [-50, 400, 3],
  [0, 5_000, 10_000],
  [0, 0, 0],
])('at %d of %d px, %d rows', (top, height, count) => {
  const { start, end } = sliceAt(top, height, count);
  expect(start).toBeGreaterThanOrEqual(0);
  expect(end).toBeLessThanOrEqual(count);
  expect(end - start).toBeLessThanOrEqual(MAX_ROWS);
});

test('what is in view is drawn', () => {
  const { start, end } = sliceAt(200_000 - 400, 400, 10_000);
  expect(start).toBeLessThanOrEqual(9_980);
  expect(end).toBe(10_000);
});

test('the end is where the last row is in view', () => {
  expect(isAtEnd(0, 400, 5)).toBe(true);
  expect(isAtEnd(600, 400, 50)).toBe(true);
  expect(isAtEnd(500, 400, 50)).toBe(false);
});
