import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  historyKey, MAX_ALL_CHARACTERS, MAX_CHARACTERS, MAX_MESSAGES, readHistory, removeHistory, writeHistory,
} from '../../../src/assistant/history';
import { userMessage, type Message } from '../../../src/assistant/messages';

/** What a browser has, with room for so many characters. */
class Memory implements Storage {
  private readonly all = new Map<string, string>();
  constructor(private readonly room = Number.POSITIVE_INFINITY) {}
  get length(): number {
    return this.all.size;
  }
  key = (at: number): string | null => [...this.all.keys()][at] ?? null;
  getItem = (key: string): string | null => this.all.get(key) ?? null;
  removeItem = (key: string): void => void this.all.delete(key);
  clear = (): void => this.all.clear();
  setItem(key: string, value: string): void {
    if (value.length > this.room) throw new DOMException('full', 'QuotaExceededError');
    this.all.set(key, value);
  }
}

const owner = { place: 'https://fn-{name}.example', user: 'ada', namespace: 'shop', name: 'orders' };
const key = historyKey(owner);
const said = (text: string): Message => userMessage(text, []);
const texts = (messages: Message[]): string[] => messages.map(({ text }) => text);
let storage: Memory;
function use(memory: Memory): void {
  storage = memory;
  vi.stubGlobal('localStorage', memory);
}
beforeEach(() => use(new Memory()));
afterAll(() => vi.unstubAllGlobals());

test('another cluster, user, namespace or function has another conversation', () => {
  const keys = [
    key,
    historyKey({ ...owner, place: 'https://fn-{name}.other' }),
    historyKey({ ...owner, user: 'bob' }),
    historyKey({ ...owner, namespace: 'lab' }),
    historyKey({ ...owner, name: 'payments' }),
    historyKey({ ...owner, name: null }),
    historyKey({ ...owner, namespace: 'shop/orders', name: '' }),
  ];
  expect(new Set(keys).size).toBe(keys.length);
});

test('what was said comes back; of files only names and sizes', () => {
  writeHistory(key, [userMessage('port this', [{ name: 'pom.xml', size: 10, text: 'canary-of-a-file' }])], 1);
  expect(storage.getItem(key)).not.toContain('canary');
  expect(readHistory(key)).toMatchObject([{ text: 'port this', attachments: [{ name: 'pom.xml', size: 10, text: null }] }]);
  removeHistory(key);
  expect(storage.length).toBe(0);
});

describe('bounds', () => {
  test('of messages: the last ones stay', () => {
    const messages = Array.from({ length: MAX_MESSAGES + 5 }, (_, at) => said(String(at)));
    writeHistory(key, messages, 1);
    expect(texts(readHistory(key))).toEqual(texts(messages.slice(5)));
  });

  test('of characters', () => {
    writeHistory(key, [said('x'.repeat(MAX_CHARACTERS)), said('short')], 1);
    expect(texts(readHistory(key))).toEqual(['short']);
    writeHistory(key, [said('x'.repeat(MAX_CHARACTERS))], 1);
    expect(readHistory(key)).toEqual([]);
  });

  test('of all together: what was not used for the longest time goes first', () => {
    storage.setItem('kipper.draft:shop/orders', 'y'.repeat(MAX_ALL_CHARACTERS));
    const keys = ['a', 'b', 'c'].map((name) => historyKey({ ...owner, name }));
    const text = 'x'.repeat(MAX_CHARACTERS - 1000);
    keys.forEach((one, at) => writeHistory(one, [said(text)], at));
    expect(keys.map((one) => readHistory(one).length)).toEqual([0, 1, 1]);
    expect(storage.getItem('kipper.draft:shop/orders')).not.toBeNull();
  });

  test('of the browser: nothing is kept, nothing breaks', () => {
    use(new Memory(100));
    writeHistory(key, [said('x'.repeat(200))], 1);
    expect(readHistory(key)).toEqual([]);
  });
});

test('something else under the key is no conversation', () => {
  for (const text of ['', '{', 'null', '[]', '{"version":2}', '{"version":1}']) {
    storage.setItem(key, text);
    expect(readHistory(key)).toEqual([]);
  }
});
