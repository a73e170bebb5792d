import { describe, expect, test } from 'vitest';
import { offer } from '../../../src/editor/complete';
import type { LanguageName } from '../../../src/editor/paths';

const VARIABLES = [
  { name: 'DB_HOST', origin: 'from eventdb (postgres)' },
  { name: 'API_KEY', origin: 'secret' },
];

describe('what the platform offers', () => {
  test.each<[LanguageName, string, number | null, string[]]>([
    ['javascript', 'const key = process.env.', 24, ['DB_HOST', 'API_KEY', 'KIPPER_TRIGGER']],
    ['javascript', 'process.env.DB_', 12, ['DB_HOST']],
    ['typescript', 'process.env["', 13, ['DB_HOST']],
    ['javascript', "process.env['API", 13, ['API_KEY']],
    ['javascript', 'process.environ.', null, []],
    ['python', 'x = os.environ["', 16, ['DB_HOST']],
    ['python', "os.environ.get('A", 16, ['API_KEY']],
    ['python', 'os.getenv( "', 12, ['API_KEY']],
    ['python', 'os.environ.', null, []],
    ['javascript', 'context.', 8, ['method', 'headers', 'trigger']],
    ['javascript', 'if (context?.he', 13, ['headers']],
    ['python', 'context["pa', 9, ['path']],
    ['javascript', 'context.headers.', null, []],
    ['javascript', 'my.context.', null, []],
    ['javascript', 'event.', 6, ['bucket', 'key']],
    ['python', 'event.', null, []],
    ['python', 'event["', 7, ['bucket', 'key']],
    ['javascript', '  return { stat', 11, ['statusCode']],
    ['javascript', 'foo', null, []],
    ['javascript', '', null, []],
  ])('%s %j', (language, text, from, labels) => {
    const found = offer(language, text, VARIABLES, ['minio']);
    expect(found?.from ?? null).toBe(from);
    expect(found?.options.map(({ label }) => label) ?? []).toEqual(expect.arrayContaining(labels));
  });
});

test('an event has members only where they are known', () => {
  expect(offer('javascript', 'event.', [], ['http'])).toBeNull();
});
