import { expect, test } from 'vitest';
import builtins from '../../../src/editor/builtins.json';
import { running } from '../../../scripts/builtins.mjs';

// Names of other versions may stand in the list as well.
test.each(['node', 'python'] as const)('every module that %s brings is known', (runtime) => {
  const known = new Set<string>(builtins[runtime]);
  const found: string[] = running()[runtime];
  expect(found.length).toBeGreaterThan(30);
  expect(found.filter((name) => !known.has(name))).toEqual([]);
});

test('the lists are sorted and each name stands once', () => {
  for (const names of [builtins.node, builtins.python]) expect(names).toEqual([...new Set(names)].sort());
});
