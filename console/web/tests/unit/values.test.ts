import { describe, expect, test } from 'vitest';
import { changes, isEqual, merge, pruned, setValueAt, steps, valueAt, withValue, type Json } from '../../src/state/values.ts';

describe('pruned', () => {
  test.each<[string, Json, Json]>([
    ['empty fields go', { image: '', port: 8080, noTmp: false, triggers: [], resources: { cpuLimit: '' } }, { port: 8080 }],
    ['zero is a value', { scaling: { minReplicas: 0 } }, { scaling: { minReplicas: 0 } }],
    ['false is a value where nothing means true', { scaling: { burst: false } }, { scaling: { burst: false } }],
    ['an empty variable is one', { env: { A: '' } }, { env: { A: '' } }],
    ['an empty file is one', { source: { files: { 'a.js': '' } } }, { source: { files: { 'a.js': '' } } }],
    ['empty settings of a trigger stay', { triggers: [{ type: 'redis', config: { list: '' } }] }, { triggers: [{ type: 'redis', config: { list: '' } }] }],
  ])('%s', (_, value, expected) => expect(pruned(value)).toEqual(expected));
});

describe('isEqual', () => {
  test.each<[Json, Json, boolean]>([
    [{ a: 1, b: [1, { c: 2 }] }, { b: [1, { c: 2 }], a: 1 }, true],
    [{ a: undefined }, {}, false],
    [[1, 2], [2, 1], false],
    [{ a: 1 }, [1], false],
    ['1', 1, false],
  ])('%j and %j', (a, b, expected) => expect(isEqual(a, b)).toBe(expected));
});

describe('changes', () => {
  test.each<[Json, Json, string[]]>([
    [{ port: 1 }, { port: 1 }, []],
    [{ port: 1 }, { port: 2 }, ['spec.port']],
    [{}, { env: { 'my.key': '1' } }, ['spec.env.my.key']],
    [{ source: { code: 'a', handler: 'h' } }, { source: { code: 'b', handler: 'h' } }, ['spec.source.code']],
    [{ triggers: [{ type: 'cron', schedule: 'a' }] }, { triggers: [{ type: 'cron', schedule: 'b' }] }, ['spec.triggers[0].schedule']],
    [{ volumes: [{ name: 'a', mountPath: '/a' }] }, {}, ['spec.volumes[0].name', 'spec.volumes[0].mountPath']],
    [{ cspAllowlist: ['a'] }, { cspAllowlist: ['a', 'b'] }, ['spec.cspAllowlist']],
  ])('%j to %j', (before, after, paths) => expect(changes(before, after).map(({ path }) => path)).toEqual(paths));
});

describe('merge', () => {
  test.each<[string, Json, Json, Json, Json]>([
    ['only mine', { a: 1 }, { a: 2 }, { a: 1 }, { a: 2 }],
    ['only theirs', { a: 1 }, { a: 1 }, { a: 2 }, { a: 2 }],
    ['disjoint', { a: 1, b: 1 }, { a: 2, b: 1 }, { a: 1, b: 2 }, { a: 2, b: 2 }],
    ['both: mine', { a: 1 }, { a: 2 }, { a: 3 }, { a: 2 }],
    ['they removed what I left', { a: 1, b: 1 }, { a: 1, b: 1 }, { a: 1 }, { a: 1 }],
    ['I removed what they left', { a: 1, b: 1 }, { a: 1 }, { a: 1, b: 1 }, { a: 1 }],
    ['deep', { env: { A: '1' } }, { env: { A: '1', B: '2' } }, { env: { A: '3' } }, { env: { A: '3', B: '2' } }],
    ['a list is one value', { l: [1] }, { l: [1, 2] }, { l: [1] }, { l: [1, 2] }],
  ])('%s', (_, base, mine, theirs, expected) => expect(merge(base, mine, theirs)).toEqual(expected));
});

describe('steps', () => {
  test.each<[string, (string | number)[]]>([
    ['spec', []],
    ['spec.port', ['port']],
    ['spec.triggers[0].config.query', ['triggers', 0, 'config', 'query']],
    ['spec.env.my.key', ['env', 'my.key']],
    ['spec.source.files.lib/a.b.js', ['source', 'files', 'lib/a.b.js']],
    ['spec.source.files[lib/a.js]', ['source', 'files', 'lib/a.js']],
    ['spec.source.dependencies.@a/b.c', ['source', 'dependencies', '@a/b.c']],
    ['spec.cspAllowlist[2]', ['cspAllowlist', 2]],
  ])('%s', (path, expected) => expect(steps(path)).toEqual(expected));
});

test('a value is put in its place, and an absent one is taken out', () => {
  const root: Json = { triggers: [{ type: 'cron', schedule: 'a' }], env: { 'a.b': '1' } };
  expect(withValue(root, 'spec.triggers[0].schedule', 'b')).toEqual({ ...root, triggers: [{ type: 'cron', schedule: 'b' }] });
  expect(withValue(root, 'spec.env.a.b', undefined)).toEqual({ ...root, env: {} });
  expect(withValue(root, 'spec.scaling.maxReplicas', 3)).toEqual({ ...root, scaling: { maxReplicas: 3 } });
});

test('a field is set in place, what is missing is made, and an empty text takes it out', () => {
  const spec: Record<string, unknown> = {};
  setValueAt(spec, 'spec.triggers[0].config.query', 'SELECT 1');
  setValueAt(spec, 'spec.env.my.key', '1');
  expect(spec).toEqual({ triggers: [{ config: { query: 'SELECT 1' } }], env: { 'my.key': '1' } });
  expect(valueAt(spec, 'spec.triggers[0].config.query')).toBe('SELECT 1');
  expect(valueAt(spec, 'spec.scaling.maxReplicas')).toBeUndefined();
  setValueAt(spec, 'spec.env.my.key', '');
  expect(spec['env']).toEqual({});
});
