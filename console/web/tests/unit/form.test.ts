import { beforeEach, describe, expect, test, vi } from 'vitest';
import { api, ApiError } from '../../src/api/client.ts';
import type { Detail, Meta, Saved, Spec } from '../../src/api/types.ts';
import { Form } from '../../src/state/form.svelte.ts';

const SPEC: Spec = { runtime: 'node', source: { code: 'a' }, env: { A: '1' }, triggers: [{ type: 'http' }], port: 8080 };
const META = {} as Meta;

function detail(generation: number, spec: Spec, secrets: string[] = []): Detail {
  const rows = secrets.map((name) => ({ name, hasPrevious: false, rotatedAt: null }));
  return { name: 'f', namespace: 'n', generation, spec, status: null, url: null, secrets: rows, origin: null, readOnly: null, notices: [] };
}

const saved = (fn: Detail): Saved => ({ function: fn, outcome: 'changed', merged: [], written: ['spec'], failed: null });

async function loaded(spec = SPEC): Promise<Form> {
  vi.spyOn(api, 'get').mockResolvedValue(detail(1, spec, ['KEY']));
  const form = new Form('n', 'f', META);
  await form.load();
  return form;
}

beforeEach(() => vi.restoreAllMocks());

describe('loading', () => {
  test('a form is clean, whatever the order of keys and the empty fields', async () => {
    const form = await loaded({ ...SPEC, volumes: [], resources: {}, noTmp: false });
    expect(form.isDirty).toBe(false);
    expect([...form.dirtySections]).toEqual([]);
  });

  test('what failed to load is not an empty form, and cannot be saved', async () => {
    vi.spyOn(api, 'get').mockRejectedValue(new ApiError(502, { error: 'no answer' }));
    const put = vi.spyOn(api, 'save');
    const form = new Form('n', 'f', META);
    await form.load();
    expect([form.isLoaded, form.loadError, await form.save()]).toEqual([false, 'no answer', 'refused']);
    expect(put).not.toHaveBeenCalled();
  });
});

describe('saving', () => {
  test('sends everything at once, with what it was loaded from', async () => {
    const form = await loaded();
    form.set('spec.port', 9000);
    form.draft.secrets.find((row) => row.name === 'KEY')!.action = 'delete';
    const put = vi.spyOn(api, 'save').mockResolvedValue(saved(detail(2, { ...SPEC, port: 9000 })));
    expect(await form.save()).toBe('saved');
    expect(put).toHaveBeenCalledWith('n', 'f', { ...SPEC, port: 9000 }, { set: {}, delete: ['KEY'] }, { generation: 1, spec: SPEC });
    expect([form.isDirty, form.base?.generation]).toEqual([false, 2]);
  });

  test('what is typed meanwhile stays, and what the server merged is taken', async () => {
    const form = await loaded();
    form.set('spec.port', 9000);
    vi.spyOn(api, 'save').mockImplementation(async () => {
      form.set('spec.source.code', 'later');
      return saved(detail(2, { ...SPEC, port: 9000, logRequests: true }));
    });
    await form.save();
    expect([form.get('spec.source.code'), form.get('spec.logRequests')]).toEqual(['later', true]);
    expect(form.changes.map(({ path }) => path)).toEqual(['spec.source.code']);
  });

  test('half-typed rows block it', async () => {
    const form = await loaded();
    form.addEnv([{ name: '', value: 'x' }]);
    const put = vi.spyOn(api, 'save');
    expect(await form.save()).toBe('refused');
    expect(put).not.toHaveBeenCalled();
    expect(form.problemsIn('environment')).toHaveLength(1);
  });

  test('problems of the server are shown at their fields', async () => {
    const form = await loaded();
    form.set('spec.port', 99999);
    const problems = [{ path: 'spec.port', message: 'must be between 1 and 65535' }];
    vi.spyOn(api, 'save').mockRejectedValue(new ApiError(422, { error: 'invalid', reason: 'invalid', problems }));
    expect(await form.save()).toBe('refused');
    expect([form.problemsAt('spec.port'), form.firstProblemSection, form.saveError]).toEqual([['must be between 1 and 65535'], 'settings', '']);
  });

  test('a part that failed is named, and its secrets are still to be saved', async () => {
    const form = await loaded();
    form.draft.secrets.push({ id: 99, name: 'NEW', value: 'v', stored: false, action: 'set' });
    vi.spyOn(api, 'save').mockResolvedValue({ ...saved(detail(1, SPEC, ['KEY'])), failed: { step: 'secrets', error: 'not allowed' } });
    expect(await form.save()).toBe('partly');
    expect(form.saveError).toContain('secrets failed. not allowed');
    expect(form.isDirty).toBe(true);
  });
});

describe('a conflict', () => {
  async function conflicting(): Promise<Form> {
    const form = await loaded();
    form.set('spec.port', 9000);
    form.set('spec.source.code', 'mine');
    const current = detail(5, { ...SPEC, port: 7000, source: { code: 'theirs' }, logRequests: true });
    const conflicts = [
      { path: 'spec.port', base: 8080, yours: 9000, theirs: 7000 },
      { path: 'spec.source.code', base: 'a', yours: 'mine', theirs: 'theirs' },
    ];
    vi.spyOn(api, 'save').mockRejectedValueOnce(new ApiError(409, { error: 'both', reason: 'conflict', conflicts, current }));
    expect(await form.save()).toBe('conflict');
    return form;
  }

  test('goes on from what is stored, with what was chosen', async () => {
    const form = await conflicting();
    form.resolveConflicts(new Set(['spec.port']));
    expect([form.get('spec.port'), form.get('spec.source.code'), form.get('spec.logRequests')]).toEqual([7000, 'mine', true]);
    expect([form.base?.generation, form.conflicts]).toEqual([5, []]);
  });

  test('that is left open loses nothing', async () => {
    const form = await conflicting();
    form.dropConflicts();
    expect([form.get('spec.port'), form.base?.generation]).toEqual([9000, 1]);
  });
});

describe('news from the stream', () => {
  test('a form that nobody touched follows', async () => {
    const form = await loaded();
    form.takeLive(detail(2, { ...SPEC, port: 7000 }));
    expect([form.get('spec.port'), form.isDirty, form.outside]).toEqual([7000, false, null]);
  });

  test('one that was edited is left alone, and says so', async () => {
    const form = await loaded();
    form.set('spec.port', 9000);
    form.takeLive(detail(2, { ...SPEC, logRequests: true }));
    expect([form.get('spec.port'), form.outside?.generation, form.base?.generation]).toEqual([9000, 2, 1]);
  });

  test('of the status only changes nothing that is typed', async () => {
    const form = await loaded();
    form.set('spec.port', 9000);
    form.addEnv([{ name: '', value: 'half' }]);
    const draft = JSON.stringify(form.draft);
    form.takeLive({ ...detail(1, SPEC, ['KEY']), status: { phase: 'Running', replicas: 3 } });
    expect([JSON.stringify(form.draft), form.outside]).toEqual([draft, null]);
  });

  test('of what a save has replaced is late, and not taken', async () => {
    const form = await loaded();
    form.set('spec.port', 9000);
    vi.spyOn(api, 'save').mockResolvedValue(saved(detail(2, { ...SPEC, port: 9000 }, ['KEY'])));
    await form.save();
    form.takeLive(detail(1, SPEC, ['KEY']));
    expect(form.get('spec.port')).toBe(9000);
  });
});

test('what was discarded can be brought back', async () => {
  const form = await loaded();
  form.set('spec.port', 9000);
  const undo = form.discard();
  expect([form.isDirty, form.get('spec.port')]).toEqual([false, 8080]);
  undo();
  expect([form.isDirty, form.get('spec.port')]).toEqual([true, 9000]);
});

test('creating never overwrites', async () => {
  const form = new Form('n', null, META);
  await form.load();
  form.draft.name = 'f';
  vi.spyOn(api, 'create').mockRejectedValue(new ApiError(409, { error: 'exists', reason: 'exists' }));
  expect(await form.save()).toBe('refused');
  expect(form.problemsAt('metadata.name')).toHaveLength(1);
});
