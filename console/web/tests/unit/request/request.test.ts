import { describe, expect, test } from 'vitest';
import { bodyOf, bodyProblem, curlOf, firstDraft, headerProblem, isJson, pathProblem, requestOf } from '../../../src/request/request';
import { barsOf, extentOf, inWords } from '../../../src/request/timeline';

const answer = { status: 200, headers: [['content-type', 'application/json']] as [string, string][], body: '{"a":1}', isText: true, truncated: false, milliseconds: 12, phases: [] };

test.each([
  ['/', true],
  ['/a?b=c%20d', true],
  ['a', false],
  ['', false],
  ['/a b', false],
  ['/a#b', false],
])('path %j', (path, isGood) => expect(pathProblem(path) === null).toBe(isGood));

test.each([
  ['X-Test', '1', true],
  ['', '', true],
  ['', '1', false],
  ['a b', '1', false],
  ['a', 'x\ny', false],
  ['a', '漢', false],
])('header %j: %j', (name, value, isGood) => expect(headerProblem({ id: 1, name, value }) === null).toBe(isGood));

describe('bodies', () => {
  test('are judged as JSON only where they are sent as such', () => {
    const broken = { ...firstDraft(), body: '{' };
    expect(bodyProblem(broken)).toMatch(/^Not valid JSON/);
    expect(bodyProblem({ ...broken, kind: 'text' })).toBeNull();
    expect(bodyProblem({ ...broken, method: 'GET' })).toBeNull();
    expect(bodyProblem({ ...broken, body: ' ' })).toBeNull();
  });

  test('bring their type unless one is given', () => {
    expect(requestOf(firstDraft()).headers).toEqual([['Content-Type', 'application/json']]);
    const own = { ...firstDraft(), headers: [{ id: 1, name: 'content-type', value: 'a/b' }, { id: 2, name: '', value: '' }] };
    expect(requestOf(own).headers).toEqual([['content-type', 'a/b']]);
    expect(requestOf({ ...firstDraft(), method: 'GET' })).toEqual({ method: 'GET', path: '/', headers: [], body: '' });
  });
});

test.each([
  ['GET', '', `curl -i 'http://h/a'`],
  ['POST', `it's`, `curl -i 'http://h/a' \\\n  --data-raw 'it'\\''s'`],
  ['PUT', '1', `curl -i 'http://h/a' \\\n  -X PUT \\\n  --data-raw '1'`],
  ['POST', '', `curl -i 'http://h/a' \\\n  -X POST`],
  ['HEAD', '', `curl -I 'http://h/a'`],
])('curl %s %j', (method, body, expected) => expect(curlOf('http://h/', { method, path: '/a', headers: [], body })).toBe(expected));

describe('answers', () => {
  test('JSON is made readable', () => {
    expect(bodyOf(answer, true).text).toBe('{\n  "a": 1\n}');
    expect(bodyOf(answer, false).text).toBe('{"a":1}');
    expect(bodyOf({ ...answer, body: '{' }, true).text).toBe('{');
  });

  test('only JSON that is whole is JSON', () => {
    expect(isJson({ ...answer, truncated: true })).toBe(false);
    expect(isJson({ ...answer, headers: [['Content-Type', 'application/problem+json; charset=utf-8']] })).toBe(true);
    expect(isJson({ ...answer, headers: [] })).toBe(false);
  });

  test('bytes are said to be some', () => {
    expect(bodyOf({ ...answer, isText: false, body: 'AAEC' }, true)).toEqual({ text: '', note: 'A binary body of 3 bytes.' });
    expect(bodyOf({ ...answer, body: '' }, true).note).toBe('The answer has no body.');
  });
});

describe('the timeline', () => {
  const phases = [
    { name: 'queue', milliseconds: 1500 },
    { name: 'wake', milliseconds: 900 },
    { name: 'ready', milliseconds: 590 },
    { name: 'connect', milliseconds: 1 },
    { name: 'ttfb', milliseconds: 20 },
    { name: 'app', milliseconds: 5 },
  ];

  test('waking and getting ready lie within the queue, the rest behind it', () => {
    const starts = Object.fromEntries(barsOf(phases).map(({ name, start }) => [name, start]));
    expect(starts).toEqual({ queue: 0, wake: 0, ready: 900, connect: 1500, ttfb: 1501, app: 1521 });
  });

  test('the axis holds every bar', () => {
    expect(extentOf(barsOf(phases), 1400)).toBe(1526);
    expect(extentOf([], 0)).toBe(1);
  });

  test.each([
    [0.21, '0.2 ms'],
    [12.4, '12 ms'],
    [1503, '1.50 s'],
    [12_345, '12.3 s'],
  ])('%d ms', (milliseconds, words) => expect(inWords(milliseconds)).toBe(words));
});
