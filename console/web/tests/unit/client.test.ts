import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../../src/api/client.ts';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** A server that is reached after so many attempts; what it was asked. */
function reachedAfter(failures: number, answer: () => Response): string[] {
  vi.useFakeTimers();
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (path: string, { method }: RequestInit) => {
    asked.push(`${method} ${path}`);
    if (asked.length <= failures) throw new TypeError('Failed to fetch');
    return answer();
  });
  return asked;
}

/** What came of it, with the pauses passed over. */
async function outcome<T>(pending: Promise<T>): Promise<T | string> {
  const settled = pending.catch((error: Error) => error.message);
  await vi.runAllTimersAsync();
  return settled;
}

test('what is read is asked for again where the network broke the way there', async () => {
  const asked = reachedAfter(2, () => Response.json({ items: ['a'] }));
  expect(await outcome(api.namespaces())).toEqual(['a']);
  expect(asked).toEqual(Array(3).fill('GET /api/v1/namespaces'));
});

test('a server that stays away is given up', async () => {
  const asked = reachedAfter(Infinity, Response.error);
  expect(await outcome(api.namespaces())).toMatch('cannot be reached');
  expect(asked).toHaveLength(3);
});

test('what changes something is sent once, and an answer is an answer', async () => {
  const writes = reachedAfter(1, () => Response.json({}));
  expect(await outcome(api.restart('ns', 'fn'))).toMatch('cannot be reached');
  expect(writes).toHaveLength(1);
  const reads = reachedAfter(0, () => Response.json({ error: 'not now', reason: 'unreachable' }, { status: 502 }));
  expect(await outcome(api.namespaces())).toBe('not now');
  expect(reads).toHaveLength(1);
});
