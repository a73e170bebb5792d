import { describe, expect, test } from 'vitest';
import { failuresAfter, parseEvent, retryDelay } from '../../src/api/stream.ts';
import type { Status, Trigger } from '../../src/api/types.ts';
import { troubles } from '../../src/state/conditions.ts';
import { lineDiff } from '../../src/state/diff.ts';
import { sectionOf } from '../../src/state/sections.ts';
import { ago, duration } from '../../src/state/time.ts';
import { addable, mainTrigger, withAnother, withTrigger } from '../../src/state/triggers.ts';

test.each([
  ['spec.source.code', 'code'],
  ['spec.source.files[a.js]', 'code'],
  ['spec.source.dependencies.pg', 'dependencies'],
  ['spec.source.handler', 'settings'],
  ['spec.triggers[0].schedule', 'trigger'],
  ['spec.env.A', 'environment'],
  ['spec.environment', 'settings'],
  ['secrets.A', 'secrets'],
  ['spec.port', 'settings'],
  ['metadata.name', null],
])('%s belongs to %s', (path, section) => expect(sectionOf(path)).toBe(section));

describe('lineDiff', () => {
  const marks = (before: string, after: string) =>
    lineDiff(before, after).map(({ kind, text }) => `${{ same: ' ', added: '+', removed: '-', gap: '~' }[kind]}${text}`);
  test.each<[string, string, string, string[]]>([
    ['the same', 'a\nb', 'a\nb', ['~2 lines are the same']],
    ['one line', 'a\nb\nc', 'a\nx\nc', [' a', '-b', '+x', ' c']],
    ['added', '', 'a\n', ['+a']],
    ['removed', 'a\n', '', ['-a']],
    ['far from each other', '1\n2\n3\n4\n5\n6\n7\n8\n9', '0\n2\n3\n4\n5\n6\n7\n8\nx', [
      '-1', '+0', ' 2', ' 3', ' 4', '~1 line is the same', ' 6', ' 7', ' 8', '-9', '+x',
    ]],
  ])('%s', (_, before, after, expected) => expect(marks(before, after)).toEqual(expected));

  test('two long texts that share nothing are cut', () => {
    const text = (word: string) => Array.from({ length: 3000 }, (_, at) => `${word}${at}`).join('\n');
    expect(lineDiff(text('a'), text('b'))).toHaveLength(2001);
  });
});

describe('triggers', () => {
  const http: Trigger = { type: 'http' };
  const cron: Trigger = { type: 'cron', schedule: '* * * * *' };
  const postgres: Trigger = { type: 'postgres' };
  const redis: Trigger = { type: 'redis' };
  test.each([
    [[], 'http'],
    [[http, cron], 'cron'],
    [[http, cron, postgres], 'postgres'],
  ])('%j is mainly %s', (triggers, kind) => expect(mainTrigger(triggers as Trigger[])).toBe(kind));
  test.each([
    ['from the implied one', [], 'http', cron, [cron]],
    ['replaces the one shown', [http], 'http', cron, [cron]],
    ['keeps the others', [http, cron], 'cron', postgres, [http, postgres]],
    ['one event trigger at most', [http, postgres], 'http', redis, [http, redis]],
    ['that is there already', [http, cron], 'cron', http, [http, cron]],
  ])('%s', (_, triggers, shown, wanted, expected) =>
    expect(withTrigger(triggers as Trigger[], shown as Trigger['type'], wanted as Trigger)).toEqual(expected));
  test.each([
    ['the implied one is said', [], cron, [http, cron]],
    ['behind the others', [cron], http, [cron, http]],
  ])('another: %s', (_, triggers, added, expected) => expect(withAnother(triggers as Trigger[], added as Trigger)).toEqual(expected));
  test.each([
    [[], ['cron', 'postgres', 'redis']],
    [[cron], ['http', 'postgres', 'redis']],
    [[http, postgres], ['cron']],
    [[http, cron, redis], []],
  ])('beside %j: %j', (triggers, kinds) => expect(addable(triggers as Trigger[], ['http', 'cron', 'postgres', 'redis'])).toEqual(kinds));
});

describe('troubles', () => {
  const status = (...conditions: [string, string, string, string?][]): Status => ({
    conditions: conditions.map(([type, value, reason, message]) => ({ type, status: value as 'True', reason, message: message ?? '' })),
  });
  test.each<[string, Status, string[]]>([
    ['all well', status(['Ready', 'True', 'Reconciled'], ['OnSchedule', 'True', 'OnTime']), []],
    ['bad when true', status(['NameTaken', 'True', 'NameTaken'], ['Ready', 'True', 'Reconciled']), ['NameTaken']],
    ['Ready repeats its cause', status(['Ready', 'False', 'Missing', 'm'], ['BindingsResolved', 'False', 'Missing', 'm']), ['BindingsResolved']],
    ['Ready alone', status(['Ready', 'False', 'OutOfMemory', 'm']), ['Ready']],
    ['not known yet', status(['Ready', 'Unknown', 'Checking']), []],
  ])('%s', (_, given, types) => expect(troubles(given).map(({ type }) => type)).toEqual(types));
});

test('the stream is read a line at a time, and words of a later version are passed over', () => {
  expect(parseEvent('')).toBeNull();
  expect(parseEvent('{"type":"gone"}')).toEqual({ type: 'gone' });
  expect(parseEvent('{"half":')).toBeNull();
});

test('attempts to connect are spread and bounded', () => {
  expect(retryDelay(0, 0)).toBe(250);
  expect(retryDelay(0, 1)).toBe(500);
  expect(retryDelay(50, 1)).toBe(15_000);
});

test('a stream that only says why it ends is not one that works', () => {
  expect(failuresAfter({ type: 'gone' }, 3)).toBe(0);
  expect(failuresAfter(null, 3)).toBe(0);
  expect(failuresAfter({ type: 'error', error: 'not allowed', reason: 'forbidden' }, 3)).toBe(3);
});

test.each([
  [5, 'just now'],
  [61, '1m ago'],
  [7200, '2h ago'],
  [200_000, '2d ago'],
])('%d s are %s', (seconds, words) => expect(ago(new Date(0).toISOString(), seconds * 1000)).toBe(words));
test('durations', () => expect([duration(0), duration(59), duration(3600)]).toEqual(['0s', '59s', '1h']));
