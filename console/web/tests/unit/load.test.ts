import { expect, test } from 'vitest';
import { Load } from '../../src/state/load.svelte.ts';

test('an answer that was asked for before a value was taken over says nothing any more', async () => {
  let answer: (value: string) => void = () => {};
  const load = new Load(() => new Promise<string>((resolve) => (answer = resolve)));
  const asked = load.reload();
  load.take('saved');
  answer('old');
  await asked;
  expect([load.value, load.error, load.isLoading]).toEqual(['saved', '', false]);
});
