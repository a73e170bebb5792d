import { beforeEach, expect, test, vi } from 'vitest';
import type { StreamOptions } from '../../src/api/stream.ts';
import type { Summary } from '../../src/api/types.ts';
import { FunctionListState } from '../../src/state/list.svelte.ts';

/** What the server is asked for, and has not answered yet. */
const server = vi.hoisted(() => ({
  lists: [] as ((items: Summary[]) => void)[],
  streams: [] as StreamOptions[],
}));

vi.mock('../../src/state/session.svelte.ts', () => ({ session: { takeFirstList: async () => null } }));
vi.mock('../../src/api/stream.ts', () => ({
  openStream: (options: StreamOptions) => {
    server.streams.push(options);
    return () => server.streams.splice(server.streams.indexOf(options), 1);
  },
}));
vi.mock('../../src/api/client.ts', () => ({
  messageOf: String,
  api: { list: () => new Promise<Summary[]>((resolve) => server.lists.push(resolve)), createRefusal: async () => null },
}));

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
const items = (name: string): Summary[] => [{ name } as Summary];
const namesOf = (list: FunctionListState): string[] => (list.items ?? []).map(({ name }) => name);

/** Answers the request for a list that is the oldest. */
async function answer(name: string): Promise<void> {
  server.lists.shift()?.(items(name));
  await settled();
}

beforeEach(() => {
  server.lists.length = 0;
  server.streams.length = 0;
});

test('a list that was asked for before the stream told of another is older', async () => {
  const list = new FunctionListState('shop');
  list.start();
  await settled();
  await answer('first');
  expect(namesOf(list)).toEqual(['first']);
  void list.reload();
  server.streams[0]?.onEvent({ type: 'functions', items: items('newest') });
  await answer('old');
  expect(namesOf(list)).toEqual(['newest']);
});

test('a page that connects again before it had an answer follows once', async () => {
  const list = new FunctionListState('shop');
  list.start();
  await settled();
  list.stop();
  list.start();
  await settled();
  const [before, after] = server.lists.splice(0);
  after?.(items('newest'));
  await settled();
  before?.(items('old'));
  await settled();
  expect(namesOf(list)).toEqual(['newest']);
  expect(server.streams).toHaveLength(1);
  list.stop();
  expect(server.streams).toHaveLength(0);
});
