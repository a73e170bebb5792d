import { expect, test } from 'vitest';
import { costWords, estimate, RULES_TOKENS, tokensOf } from '../../../src/assistant/estimate';

// The same texts as in `estimate.rs`.
test.each<[string, number]>([
  ['', 0], ['a', 1], ['hello', 2], ['hello world', 3], ['customerClient', 3], ['HTTP', 1], ['12345', 4], ['    \t  ', 0],
  ['\u4f60\u597d', 2], ['\u043f\u0440\u0438\u0432\u0435\u0442', 2], ['\u00e9', 2],
])('%j', (text, expected) => expect(tokensOf(text)).toBe(expected));

test('files with secrets are not sent, and not counted', () => {
  const tokens = (path: string, text: string): number =>
    estimate({ messages: [], attachments: [], draft: { runtime: 'node', code: { [path]: text }, bindings: [], envNames: [], secretNames: [], dependencies: {} } }, null);
  const text = 'word '.repeat(1000);
  for (const path of ['.env', 'lib/.env.local', 'lib\\tls.pem', 'ID_RSA']) expect(tokens(path, text)).toBe(RULES_TOKENS + tokensOf(path));
  const key = (line: string): string => `${text}-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n${line}\n-----END RSA PRIVATE KEY-----`;
  expect(tokens('a.js', key('MII'.repeat(20)))).toBe(RULES_TOKENS + tokensOf('a.js'));
  expect(tokens('a.js', key('${process.env.KEY}'))).toBeGreaterThan(RULES_TOKENS + 500);
  expect(tokens('a.js', text)).toBeGreaterThan(RULES_TOKENS + 500);
});

test('words about it', () => {
  const none = { input: null, output: null };
  expect(costWords(1000, null)).toBe('');
  expect(costWords(1001, null)).toBe('About 1,001 tokens');
  expect(costWords(99_999, none)).toBe('About 99,999 tokens');
  expect(costWords(100_000, null)).toMatch(/^About 100,000 tokens\. Remove attachments/);
  expect(costWords(5000, { input: 4321, output: 12 })).toBe('4,321 tokens sent, 12 received');
  expect(costWords(5000, { input: 4321, output: null })).toBe('4,321 tokens sent');
});
