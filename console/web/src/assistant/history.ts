/** The conversations about each function, in the browser's storage: words and names of files, never their contents. */
import type { Detail } from '../api/types.ts';
import type { Form } from '../state/form.svelte.ts';
import type { Attachment } from './attachments.ts';
import type { Message } from './messages.ts';

const PREFIX = 'kipper.assistant:';
export const MAX_MESSAGES = 50;
/** Characters of one conversation as it is stored. */
export const MAX_CHARACTERS = 1024 * 1024;
/** Of all together: drafts need room in the same storage. The conversation that is not used for the longest time goes first. */
export const MAX_ALL_CHARACTERS = 2 * 1024 * 1024;

interface Stored {
  version: 1;
  savedAt: number;
  messages: Message[];
}

/** Whose conversation about what: another cluster, user or function has another one. */
export interface Owner {
  /** The cluster's address, or the file of a local function. */
  place: string;
  user: string;
  namespace: string;
  /** Null for a function that does not exist yet. */
  name: string | null;
}

export const ownerOf = ({ meta, namespace }: Form, detail: Detail | null): Owner => ({
  place: detail?.origin ?? meta.urlPattern ?? meta.backend,
  user: meta.user,
  namespace,
  name: detail?.name ?? null,
});

export const historyKey = ({ place, user, namespace, name }: Owner): string =>
  PREFIX + [place, user, namespace, name ?? ''].map(encodeURIComponent).join('/');

export function readHistory(key: string): Message[] {
  try {
    return read(key)?.messages ?? [];
  } catch {
    return [];
  }
}

function read(key: string): Stored | null {
  const value: unknown = JSON.parse(localStorage.getItem(key) ?? 'null');
  const isStored = typeof value === 'object' && value !== null && 'version' in value && value.version === 1 && 'messages' in value && Array.isArray(value.messages);
  return isStored ? (value as Stored) : null;
}

/** Keeps the last messages that fit. Where the browser has no room, nothing is kept. */
export function writeHistory(key: string, messages: readonly Message[], now: number): void {
  try {
    localStorage.removeItem(key);
    const text = textOf(messages, now);
    if (text === null) return;
    makeRoom(text.length);
    localStorage.setItem(key, text);
  } catch {
    removeHistory(key);
  }
}

/** Null where there is nothing to keep. */
function textOf(messages: readonly Message[], now: number): string | null {
  let kept = messages.slice(-MAX_MESSAGES).map(withoutContents);
  while (kept.length > 0) {
    const text = JSON.stringify({ version: 1, savedAt: now, messages: kept } satisfies Stored);
    if (text.length <= MAX_CHARACTERS) return text;
    kept = kept.slice(1);
  }
  return null;
}

function withoutContents(message: Message): Message {
  return { ...message, attachments: message.attachments.map(({ name, size }): Attachment => ({ name, size, text: null })) };
}

function makeRoom(needed: number): void {
  const all = keysOf().map((key) => ({ key, length: localStorage.getItem(key)?.length ?? 0, savedAt: savedAt(key) }));
  all.sort((a, b) => a.savedAt - b.savedAt);
  let total = all.reduce((sum, { length }) => sum + length, needed);
  for (const { key, length } of all) {
    if (total <= MAX_ALL_CHARACTERS) return;
    localStorage.removeItem(key);
    total -= length;
  }
}

function savedAt(key: string): number {
  try {
    return read(key)?.savedAt ?? 0;
  } catch {
    return 0;
  }
}

function keysOf(): string[] {
  return Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at) ?? '').filter((key) => key.startsWith(PREFIX));
}

export function removeHistory(key: string): void {
  try {
    localStorage.removeItem(key);
  } catch {
    // A browser without storage has no conversation to remove.
  }
}
