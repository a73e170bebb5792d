/** The last requests to each function. In memory only: a request may hold a token. */
import type { Invoked } from '../api/types.ts';
import type { Draft } from './request.ts';

const KEPT = 20;

export interface Sent {
  id: number;
  time: number;
  draft: Draft;
  answer: Invoked | null;
  error: string;
}

const histories = new Map<string, Sent[]>();
let lastId = 0;

export function historyOf(namespace: string, name: string): readonly Sent[] {
  return histories.get(`${namespace}/${name}`) ?? [];
}

/** Adds what was sent, and returns the history, the newest first. */
export function remember(namespace: string, name: string, sent: Omit<Sent, 'id'>): readonly Sent[] {
  lastId += 1;
  const all = [{ ...sent, id: lastId }, ...historyOf(namespace, name)].slice(0, KEPT);
  histories.set(`${namespace}/${name}`, all);
  return all;
}
