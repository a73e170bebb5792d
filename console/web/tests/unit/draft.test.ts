import { describe, expect, test } from 'vitest';
import type { Detail, Spec } from '../../src/api/types.ts';
import { draftOf, hasSecretChanges, localProblems, secretChanges, settledSecrets, specOf } from '../../src/state/draft.ts';
import { restoredDraft, storedDraft } from '../../src/state/drafts.ts';
import { newRow, newSecret } from '../../src/state/rows.ts';

const SPEC: Spec = {
  runtime: 'node',
  source: { code: 'x', dependencies: { pg: '8.11.5' } },
  env: { A: '1', B: '' },
  triggers: [{ type: 'http' }, { type: 'postgres', config: { source: 'db', query: 'SELECT 1' } }],
  scaling: { minReplicas: 0 },
};
const SECRETS: Detail['secrets'] = [{ name: 'KEY', hasPrevious: false, rotatedAt: null }];

describe('a draft stands for its spec', () => {
  test.each<[string, Spec]>([
    ['code', SPEC],
    ['image', { image: 'a:1', port: 8080, triggers: [{ type: 'http' }] }],
    ['files', { runtime: 'python', source: { files: { 'handler.py': '' } } }],
    ['fields of a later version', { image: 'a:1', later: { x: [1] } } as unknown as Spec],
  ])('%s', (_, spec) => expect(specOf(draftOf('f', spec, []))).toEqual(spec));
});

test('a reload keeps half-typed rows, places and identities', () => {
  const former = draftOf('f', SPEC, SECRETS);
  former.env.splice(1, 0, newRow('', 'half'));
  const draft = draftOf('f', { ...SPEC, env: { A: '2', B: '', C: '3' } }, SECRETS, former);
  expect(draft.env.map(({ name, value }) => [name, value])).toEqual([['A', '2'], ['', 'half'], ['B', ''], ['C', '3']]);
  expect(draft.env[0]?.id).toBe(former.env[0]?.id);
});

test('code stays at hand when an image is chosen, and is not sent', () => {
  const draft = draftOf('f', SPEC, []);
  draft.spec.image = 'a:1';
  expect(specOf(draft).source).toBeUndefined();
  expect(draft.spec.source?.code).toBe('x');
});

describe('secrets', () => {
  test('are sent only where they were changed, and settle when they are', () => {
    const rows = [newSecret('KEPT', true), { ...newSecret('GONE', true), action: 'delete' as const }, { ...newSecret('NEW'), value: 'v' }];
    const sent = secretChanges(rows);
    expect(sent).toEqual({ set: { NEW: 'v' }, delete: ['GONE'] });
    const settled = settledSecrets(rows, sent);
    expect(settled.map(({ name, action, value }) => [name, action, value])).toEqual([['KEPT', 'keep', ''], ['NEW', 'keep', '']]);
    expect(hasSecretChanges(settled)).toBe(false);
  });

  test('typed while a save goes on stay', () => {
    const sent = { set: { A: 'old' }, delete: [] };
    expect(settledSecrets([{ ...newSecret('A'), value: 'newer' }], sent)[0]?.action).toBe('set');
  });
});

describe('localProblems', () => {
  const problemsOf = (change: (draft: ReturnType<typeof draftOf>) => void, isNew = false) => {
    const draft = draftOf('f', SPEC, []);
    change(draft);
    return localProblems(draft, isNew).map(({ path }) => path.replace(/#\d+/, '#'));
  };
  test.each<[string, Parameters<typeof problemsOf>, string[]]>([
    ['none', [() => {}], []],
    ['a value without a name', [(draft) => draft.env.push(newRow('', '1'))], ['spec.env#']],
    ['a package without a version', [(draft) => draft.dependencies.push(newRow('axios', ''))], ['spec.source.dependencies#']],
    ['a number that is none', [(draft) => (draft.unread['spec.port'] = '80a')], ['spec.port']],
    ['a volume without a path', [(draft) => (draft.spec.volumes = [{ name: 'v', mountPath: '' }])], ['spec.volumes[0].mountPath']],
    ['a new function without a name', [(draft) => (draft.name = ' '), true], ['metadata.name']],
    ['an image that is not typed', [(draft) => (draft.spec.image = '')], ['spec.image']],
  ])('%s', (_, [change, isNew], expected) => expect(problemsOf(change, isNew)).toEqual(expected));
});

describe('a stored draft', () => {
  const canary = 'c4n4ry';
  const draft = draftOf('f', { ...SPEC, env: { KEPT: `${canary}1`, EDITED: `${canary}2` } }, SECRETS);
  draft.env[1]!.value = `${canary}3`;
  draft.secrets.push({ ...newSecret('TOKEN'), value: `${canary}4` });
  const stored = storedDraft(draft, { generation: 3, spec: { ...SPEC, env: { KEPT: `${canary}1`, EDITED: `${canary}2` } } }, 0);

  test('has no value of a secret or a variable', () => expect(JSON.stringify(stored)).not.toContain(canary));

  test('comes back with what the function has, and asks for the rest', () => {
    const back = restoredDraft(stored, { env: { KEPT: 'now', EDITED: 'then' }, secrets: ['KEY'] });
    expect(back.env.map(({ name, value, lost }) => [name, value, lost ?? false])).toEqual([['KEPT', 'now', false], ['EDITED', '', true]]);
    expect(back.secrets.map(({ name, action, lost }) => [name, action, lost ?? false])).toEqual([['KEY', 'keep', false], ['TOKEN', 'set', true]]);
    expect(localProblems(back, false)).toHaveLength(2);
  });
});
