import { describe, expect, test } from 'vitest';
import type { Line } from '../../../src/api/types';
import { compareTimes, LogBuffer, MAX_CHARACTERS, MAX_LINES } from '../../../src/logs/buffer';

const line = (seconds: number, text = `${seconds}`, pod = 'a'): Line => ({
  time: new Date(seconds * 1000).toISOString(),
  pod,
  container: 'function',
  text,
});
const texts = (buffer: LogBuffer) => buffer.all.map((entry) => entry.line.text);

describe('order', () => {
  test('a range is sorted, also where its pods come one after the other', () => {
    const buffer = new LogBuffer();
    buffer.load([line(1), line(3), line(2, '2', 'b'), line(4, '4', 'b')]);
    expect(texts(buffer)).toEqual(['1', '2', '3', '4']);
  });

  test('lines of the stream find their place', () => {
    const buffer = new LogBuffer();
    buffer.load([line(1), line(5)]);
    buffer.append([line(6), line(4), line(7)]);
    expect(texts(buffer)).toEqual(['1', '4', '5', '6', '7']);
  });

  test('lines of one time keep their order', () => {
    const buffer = new LogBuffer();
    buffer.append([line(1, 'a'), line(1, 'b'), line(1, 'c')]);
    expect(texts(buffer)).toEqual(['a', 'b', 'c']);
  });

  test('times with and without decimals', () => {
    expect(compareTimes('2026-12-01T10:00:05Z', '2026-12-01T10:00:05.1Z')).toBe(-1);
    expect(compareTimes('2026-12-01T10:00:05.123456789Z', '2026-12-01T10:00:05.2Z')).toBe(-1);
    expect(compareTimes('2026-12-01T10:00:06Z', '2026-12-01T10:00:05.9Z')).toBe(1);
  });
});

describe('a range and the stream overlap', () => {
  test('a line that both have is there once', () => {
    const buffer = new LogBuffer();
    buffer.append([line(3), line(4)]);
    buffer.load([line(1), line(2), line(3)]);
    expect(texts(buffer)).toEqual(['1', '2', '3', '4']);
  });

  test('a line that was written twice is there twice', () => {
    const buffer = new LogBuffer();
    buffer.append([line(3, 'x'), line(3, 'x')]);
    buffer.load([line(3, 'x')]);
    expect(texts(buffer)).toEqual(['x', 'x']);
  });
});

describe('bounds', () => {
  test('of lines', () => {
    const buffer = new LogBuffer();
    buffer.load(Array.from({ length: MAX_LINES }, (_, at) => line(at)));
    buffer.append([line(MAX_LINES), line(MAX_LINES + 1)]);
    expect(buffer.all.length).toBe(MAX_LINES);
    expect(buffer.dropped).toBe(2);
    expect(texts(buffer)[0]).toBe('2');
  });

  test('of characters', () => {
    const buffer = new LogBuffer();
    const text = 'x'.repeat(1_000_000);
    buffer.append(Array.from({ length: 100 }, (_, at) => line(at, text)));
    expect(buffer.all.length).toBe(MAX_CHARACTERS / 1_000_000);
  });

  test('numbers are not given twice', () => {
    const buffer = new LogBuffer();
    buffer.append([line(1)]);
    buffer.load([line(2), line(3)]);
    const ids = buffer.all.map((entry) => entry.id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
