import { describe, expect, test } from 'vitest';
import { CLIP, clipped, colorOf, podLabel, size, visible, whole } from '../../../src/logs/text';

describe('what is shown of a line', () => {
  test.each([
    ['plain', 'plain'],
    ['a\tb', 'a\tb'],
    ['\u001b[31mred\u001b[0m', '␛[31mred␛[0m'],
    ['bell\u0007', 'bell␇'],
    ['over\rwritten', 'over␍written'],
    ['two\nlines', 'two␊lines'],
    ['\u0000', '␀'],
    ['\u007f', '␡'],
    ['\u009b31m', '\\u{9b}31m'],
    ['abc\u202ecba', 'abc\\u{202e}cba'],
    ['a\u200bb', 'a\\u{200b}b'],
    ['a\u2028b', 'a\\u{2028}b'],
    ['\ufeffx', '\\u{feff}x'],
    ['\ud800x', '\\u{d800}x'],
    ['x\udc00', 'x\\u{dc00}'],
    ['😀 ü 漢', '😀 ü 漢'],
    ['<b>no markup</b>', '<b>no markup</b>'],
  ])('%j', (text, expected) => expect(visible(text)).toBe(expected));
});

describe('long lines', () => {
  test('are clipped', () => {
    expect(clipped('x'.repeat(CLIP))).toEqual({ text: 'x'.repeat(CLIP), isClipped: false });
    expect(clipped('x'.repeat(1_000_000))).toEqual({ text: 'x'.repeat(CLIP), isClipped: true });
  });

  test('never within a character', () => {
    const shown = clipped(`${'x'.repeat(CLIP - 1)}😀${'x'.repeat(10)}`);
    expect(shown.text).toBe('x'.repeat(CLIP - 1));
  });

  test('are whole when asked for', () => {
    expect(whole('a\nb\r\n\u001b[0mc')).toBe('a\nb\n␛[0mc');
    expect(whole('x'.repeat(1_000_000)).length).toBe(1_000_000);
  });

  test('and say how long they are', () => {
    expect([size(12), size(64_000), size(1_048_576)]).toEqual(['12 characters', '64 thousand characters', '1.0 million characters']);
  });
});

test.each([
  ['hello-7d9f8b6c5-x2k4q', 'function', 'x2k4q'],
  ['hello-test-1f2e-abcde', 'function', 'abcde'],
  ['other-abc', 'poller', 'abc'],
  ['hello', 'kip', 'kip'],
  ['', 'function', 'function'],
])('the pod %j is called %s', (pod, container, label) => expect(podLabel(pod, container, 'hello')).toBe(label));

test('a pod keeps its colour', () => {
  expect(colorOf('hello-x2k4q', 6)).toBe(colorOf('hello-x2k4q', 6));
  expect(new Set(['a', 'b', 'c', 'd', 'e', 'f'].map((pod) => colorOf(pod, 6))).size).toBe(6);
});
