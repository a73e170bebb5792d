import { expect, test } from 'vitest';
import { sentence } from '../../src/state/words.ts';

test.each([
  ['the API server does not answer', 'The API server does not answer'],
  ['volumes need a cluster: kip dev uses files', 'Volumes need a cluster: kip dev uses files'],
  ['kip dev keeps no history', 'kip dev keeps no history'],
  ['minReplicas must not exceed maxReplicas', 'minReplicas must not exceed maxReplicas'],
  ['triggers[0] has no schedule', 'triggers[0] has no schedule'],
  ['Type the value.', 'Type the value.'],
  ['', ''],
])('%s', (words, expected) => expect(sentence(words)).toBe(expected));
