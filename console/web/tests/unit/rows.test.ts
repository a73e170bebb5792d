import { describe, expect, test } from 'vitest';
import { mapOf, newRow, newSecret, parseDependency, parseDotEnv, rowProblems, rowsOf, secretProblems, strayLines } from '../../src/state/rows.ts';

const RULES = { prefix: 'spec.env', noun: 'name' };
const messages = (pairs: [string, string][], needsValue?: string) =>
  rowProblems(pairs.map(([name, value]) => newRow(name, value)), { ...RULES, needsValue }).map(({ message }) => message);

describe('rowProblems', () => {
  test.each<[string, [string, string][], number]>([
    ['a row that nobody has typed in', [['', '']], 0],
    ['a value without a name', [['', '1']], 1],
    ['a name without a value', [['A', '']], 0],
    ['the same name twice', [['A', '1'], [' A', '2']], 1],
    ['fine ones', [['A', '1'], ['B', '2']], 0],
  ])('%s', (_, pairs, count) => expect(messages(pairs)).toHaveLength(count));

  test('a package needs a version', () => expect(messages([['pg', '']], 'Give it one.')).toEqual(['Give it one.']));

  test('a value that a draft lost has to be typed again', () => {
    expect(rowProblems([{ ...newRow('A'), lost: true }], RULES)).toHaveLength(1);
  });
});

describe('secretProblems', () => {
  test.each([
    ['kept', { ...newSecret('A', true) }, 0],
    ['new without a value', { ...newSecret('A') }, 1],
    ['replaced by nothing', { ...newSecret('A', true), action: 'set' as const }, 1],
    ['a name with a space', { ...newSecret('A B'), value: '1' }, 1],
    ['a value without a name', { ...newSecret(''), value: '1' }, 1],
    ['untouched', { ...newSecret('') }, 0],
    ['fine', { ...newSecret('A'), value: '1' }, 0],
  ])('%s', (_, row, count) => expect(secretProblems([row])).toHaveLength(count));
});

test('rows keep their identity by name', () => {
  const former = rowsOf({ A: '1' });
  expect(rowsOf({ A: '2', B: '3' }, former)[0]?.id).toBe(former[0]?.id);
  expect(mapOf([newRow(' A ', '1'), newRow('', '')])).toEqual({ A: '1' });
});

test('lines of a .env that are no variables are told', () => {
  expect(strayLines('# c\nA=1\r\nexport B="two\nlines"\n\nBROKEN\n  also broken \nC=')).toEqual(['BROKEN', 'also broken']);
  expect(strayLines('A=1\n# all of it\n')).toEqual([]);
});

describe('parseDotEnv', () => {
  test.each<[string, string, [string, string][] | null]>([
    ['plain', 'A=1\nB=two words', [['A', '1'], ['B', 'two words']]],
    ['comments, blank lines, export', '# c\n\nexport A=1 # why\nB=2', [['A', '1'], ['B', '2']]],
    ['quotes', `A="a # b"\nB='c\\n'`, [['A', 'a # b'], ['B', 'c\\n']]],
    ['a key of several lines', 'K="-----BEGIN\nabc\n-----END"', [['K', '-----BEGIN\nabc\n-----END']]],
    ['escapes', 'A="a\\nb"', [['A', 'a\nb']]],
    ['empty value', 'A=\nB=1', [['A', ''], ['B', '1']]],
    ['carriage returns', 'A=1\r\nB=2\r\n', [['A', '1'], ['B', '2']]],
    ['a URL with an equals sign', 'U=http://h/?a=b', [['U', 'http://h/?a=b']]],
    ['prose', 'just a value', null],
    ['nothing', '', null],
  ])('%s', (_, text, expected) => {
    expect(parseDotEnv(text)?.map(({ name, value }) => [name, value]) ?? null).toEqual(expected);
  });
});

describe('parseDependency', () => {
  test.each([
    ['pg@8.11.5', 'pg', '8.11.5'],
    ['@aws-sdk/client-s3@3.1.0', '@aws-sdk/client-s3', '3.1.0'],
    ['@a/b', '@a/b', ''],
    ['requests==2.32.3', 'requests', '2.32.3'],
    ['uvicorn[standard]>=0.30', 'uvicorn[standard]', '>=0.30'],
    [' axios ', 'axios', ''],
  ])('%s', (text, name, value) => expect(parseDependency(text)).toEqual({ name, value }));
});
