import { describe, expect, test } from 'vitest';
import { parseAnswer } from '../../../src/assistant/ask';
import { MAX_TOTAL_BYTES } from '../../../src/assistant/attachments';
import { endWords, ended, isApplicable, openAnswer, sentAttachments, sentMessages, userMessage, type Message } from '../../../src/assistant/messages';

const answered = (text: string, change: Partial<Message> = {}): Message => ({ ...openAnswer(), text, state: 'done', stop: 'end', ...change });
const file = (name: string, size = 1, text: string | null = name) => ({ name, size, text });

describe('what is sent', () => {
  test('begins with the user, and has no answer that never came', () => {
    const messages = [answered('of before'), userMessage('a', []), answered('', { state: 'failed' }), userMessage('b', []), answered('c'), userMessage('d', [])];
    expect(sentMessages(messages).map(({ text }) => text)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('files of all messages, those of the last one first where they are too many', () => {
    const messages = [userMessage('a', [file('old', MAX_TOTAL_BYTES), file('small', 1)]), answered('b'), userMessage('c', [file('new', 10), file('gone', 10, null)])];
    expect(sentAttachments(messages).map(({ name }) => name)).toEqual(['small', 'new']);
    const many = Array.from({ length: 20 }, (_, at) => file(String(at)));
    expect(sentAttachments([userMessage('a', [file('old')]), userMessage('b', many)]).map(({ name }) => name)).toEqual(many.map(({ name }) => name));
  });
});

describe('how an answer ends', () => {
  const usage = { input: 1, output: 2 };
  test.each<[string, Parameters<typeof ended>[1], RegExp, boolean]>([
    ['at its end', { type: 'done', stop: 'end', usage }, /^$/, true],
    ['at the longest output', { type: 'done', stop: 'length', usage }, /incomplete: the model reached its longest output/, true],
    ['refused', { type: 'done', stop: 'refused', usage }, /refused to answer/, true],
    ['in an error', { type: 'error', code: 'unauthorized', message: 'Set another key.', retryable: false }, /^Set another key\.$/, false],
  ])('%s', (_, event, words, applicable) => {
    const answer = { ...openAnswer(), ...ended(openAnswer(), event) };
    expect(endWords(answer)).toMatch(words);
    expect(isApplicable(answer)).toBe(applicable);
  });

  test('one that nobody waits for is not applied', () => {
    expect(isApplicable(openAnswer())).toBe(false);
    expect(endWords(openAnswer())).toMatch(/not finished/);
  });
});

test('lines of the stream', () => {
  expect(parseAnswer('{"type":"delta","text":"a"}')).toEqual({ type: 'delta', text: 'a' });
  for (const line of ['', '  ', '{', 'null', '[]', '3']) expect(parseAnswer(line)).toBeNull();
});
