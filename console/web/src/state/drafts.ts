// Drafts in the browser's storage. Values of secrets and of environment variables never go there:
// what stays on a disk is names and code.

import type { Spec } from '../api/types.ts';
import type { Draft } from './draft.ts';
import { newRow, newSecret, rowsOf, type Row, type SecretRow } from './rows.ts';

const PREFIX = 'kipper.draft:';
const LONGEST_DAYS = 30;

interface StoredRow {
  name: string;
  /** False where the value is the one that the function had: it is read from there again. */
  isEdited: boolean;
}

export interface StoredDraft {
  version: 1;
  savedAt: number;
  /** Of the Function that the form was loaded from; null for a new one. Without `env`. */
  base: { generation: number; spec: Spec } | null;
  name: string;
  spec: Spec;
  env: StoredRow[];
  dependencies: { name: string; value: string }[];
  secrets: { name: string; action: 'set' | 'delete' }[];
  unread: Record<string, string>;
}

export const draftKey = (namespace: string, name: string | null): string => `${PREFIX}${namespace}/${name ?? ''}`;

function withoutEnv(spec: Spec): Spec {
  const { env: _, ...rest } = spec;
  return rest;
}

export function storedDraft(
  draft: Draft,
  base: { generation: number; spec: Spec } | null,
  now: number,
): StoredDraft {
  const former = base?.spec.env ?? {};
  return {
    version: 1,
    savedAt: now,
    base: base && { generation: base.generation, spec: withoutEnv(base.spec) },
    name: draft.name,
    spec: draft.spec,
    env: draft.env
      .filter((row) => row.name !== '')
      .map((row) => ({ name: row.name, isEdited: former[row.name] !== row.value })),
    dependencies: draft.dependencies.map(({ name, value }) => ({ name, value })),
    secrets: draft.secrets.flatMap(({ name, action }) => (action === 'keep' || name === '' ? [] : [{ name, action }])),
    unread: draft.unread,
  };
}

/** The draft again. Values that were not kept are marked as lost, and have to be typed before a save. */
export function restoredDraft(stored: StoredDraft, current: { env?: Record<string, string>; secrets: string[] }): Draft {
  const env = stored.env.flatMap((row): Row[] => {
    const value = current.env?.[row.name];
    if (row.isEdited) return [{ ...newRow(row.name, ''), lost: true }];
    return value === undefined ? [] : rowsOf({ [row.name]: value });
  });
  return {
    name: stored.name,
    spec: stored.spec,
    env,
    dependencies: stored.dependencies.map(({ name, value }) => newRow(name, value)),
    secrets: restoredSecrets(stored, current.secrets),
    unread: stored.unread,
  };
}

function restoredSecrets(stored: StoredDraft, current: string[]): SecretRow[] {
  const edits = new Map(stored.secrets.map((secret) => [secret.name, secret.action]));
  const rows = current.map((name): SecretRow => {
    const action = edits.get(name) ?? 'keep';
    return { ...newSecret(name, true), action, lost: action === 'set' };
  });
  const fresh = stored.secrets.filter(({ name, action }) => action === 'set' && !current.includes(name));
  return [...rows, ...fresh.map(({ name }) => ({ ...newSecret(name), lost: true }))];
}

export function readDraft(key: string): StoredDraft | null {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? 'null');
    return isStoredDraft(value) ? value : null;
  } catch {
    return null;
  }
}

function isStoredDraft(value: unknown): value is StoredDraft {
  return typeof value === 'object' && value !== null && 'version' in value && value.version === 1 && 'unread' in value;
}

/** False where the browser has no room for it. */
export function writeDraft(key: string, draft: StoredDraft): boolean {
  try {
    localStorage.setItem(key, JSON.stringify(draft));
    return true;
  } catch {
    removeDraft(key);
    return false;
  }
}

export function removeDraft(key: string): void {
  try {
    localStorage.removeItem(key);
  } catch {
    // A browser without storage has no draft to remove.
  }
}

/** Forgets drafts that nobody has come back to. */
export function removeOldDrafts(now: number): void {
  try {
    const keys = Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at) ?? '');
    for (const key of keys.filter((candidate) => candidate.startsWith(PREFIX))) {
      const draft = readDraft(key);
      if (!draft || now - draft.savedAt > LONGEST_DAYS * 86_400_000) removeDraft(key);
    }
  } catch {
    // Nothing is kept where there is no storage.
  }
}
