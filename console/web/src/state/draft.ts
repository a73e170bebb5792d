// What the form edits, and the spec that it stands for. Pure.

import type { Detail, Problem, SecretChanges, SecretInfo, Spec } from '../api/types.ts';
import { mapOf, newSecret, rowProblems, rowsOf, secretProblems, type Row, type RowProblem, type SecretRow } from './rows.ts';
import { isEmpty, pruned, type Json } from './values.ts';

export interface Draft {
  name: string;
  /** Without `env` and `source.dependencies`, which are tables. */
  spec: Spec;
  env: Row[];
  dependencies: Row[];
  secrets: SecretRow[];
  /** Texts in fields for numbers that are none (yet), by path. */
  unread: Record<string, string>;
}

export const ENV_RULES = { prefix: 'spec.env', noun: 'name' };
export const DEPENDENCY_RULES = {
  prefix: 'spec.source.dependencies',
  noun: 'package',
  needsValue: 'Give this package a version.',
};

export function draftOf(name: string, spec: Spec, secrets: readonly SecretInfo[], former?: Draft): Draft {
  const { env, source, ...rest } = structuredClone(spec);
  const { dependencies, ...code } = source ?? {};
  return {
    name,
    spec: source ? { ...rest, source: code } : rest,
    env: reconciled(former?.env ?? [], env, ENV_RULES.prefix),
    dependencies: reconciled(former?.dependencies ?? [], dependencies, DEPENDENCY_RULES.prefix),
    secrets: secretRows(former?.secrets ?? [], secrets),
    unread: former?.unread ?? {},
  };
}

/** Rows keep their place and identity, and a half-typed one stays: somebody may be typing in it. */
function reconciled(former: readonly Row[], map: Record<string, string> | undefined, prefix: string): Row[] {
  const troubled = new Set(rowProblems(former, { prefix, noun: 'name' }).map((problem) => problem.path));
  const isHalf = (row: Row): boolean => row.name.trim() === '' || troubled.has(`${prefix}#${row.id}`);
  const fresh = new Map(rowsOf(map, former.filter((row) => !isHalf(row))).map((row) => [row.name, row]));
  const kept: Row[] = [];
  for (const row of former) {
    const current = fresh.get(row.name);
    if (isHalf(row)) kept.push(row);
    else if (current) kept.push(current);
    if (!isHalf(row)) fresh.delete(row.name);
  }
  return [...kept, ...fresh.values()];
}

function secretRows(former: readonly SecretRow[], stored: readonly SecretInfo[]): SecretRow[] {
  const names = new Set(stored.map((secret) => secret.name));
  const kept = former
    .filter((row) => row.action !== 'keep' || names.has(row.name))
    .filter((row) => row.action !== 'delete' || names.has(row.name))
    .map((row) => ({ ...row, stored: names.has(row.name) }));
  const known = new Set(kept.map((row) => row.name));
  return [...kept, ...stored.filter(({ name }) => !known.has(name)).map(({ name }) => newSecret(name, true))];
}

/** The secrets as they are once the changes that were sent are in force. */
export function settledSecrets(rows: readonly SecretRow[], sent: SecretChanges): SecretRow[] {
  return rows
    .filter((row) => !(row.action === 'delete' && sent.delete.includes(row.name)))
    .map((row) =>
      row.action === 'set' && sent.set[row.name.trim()] === row.value
        ? { ...row, name: row.name.trim(), value: '', action: 'keep', stored: true, lost: false }
        : row,
    );
}

export function specOf(draft: Draft): Spec {
  const { source, ...rest } = draft.spec;
  const spec: Spec = { ...rest, env: mapOf(draft.env) };
  // The code of a function that is an image now is kept in the draft only: one may change one's mind.
  if (spec.image === undefined) spec.source = { ...source, dependencies: mapOf(draft.dependencies) };
  return withRequired(pruned(spec as Json) as Spec);
}

/** What an item of a list cannot be without is sent empty where it is not typed yet, so that the answer names it. */
function withRequired(spec: Spec): Spec {
  const { volumes, imagePullSecrets } = spec;
  return {
    ...spec,
    ...(volumes && { volumes: volumes.map((volume) => ({ ...volume, name: volume.name ?? '', mountPath: volume.mountPath ?? '' })) }),
    ...(imagePullSecrets && { imagePullSecrets: imagePullSecrets.map(({ name }) => ({ name: name ?? '' })) }),
  };
}

export function secretChanges(rows: readonly SecretRow[]): SecretChanges {
  const set = rows.filter((row) => row.action === 'set' && row.name.trim() !== '');
  return {
    set: Object.fromEntries(set.map((row) => [row.name.trim(), row.value])),
    delete: rows.filter((row) => row.action === 'delete').map((row) => row.name),
  };
}

export const hasSecretChanges = (rows: readonly SecretRow[]): boolean =>
  rows.some((row) => row.action === 'delete' || (row.action === 'set' && (row.name.trim() !== '' || row.value !== '')));

/** What only the page can see: everything that would be lost, or sent as something else than it says. */
export function localProblems(draft: Draft, isNew: boolean): (Problem | RowProblem)[] {
  const problems: (Problem | RowProblem)[] = [
    ...rowProblems(draft.env, ENV_RULES),
    ...(draft.spec.image === undefined ? rowProblems(draft.dependencies, DEPENDENCY_RULES) : []),
    ...secretProblems(draft.secrets),
    ...Object.keys(draft.unread).map((path) => ({ path, message: 'This is not a number.' })),
    ...volumeProblems(draft.spec),
  ];
  if (isNew && draft.name.trim() === '') problems.unshift({ path: 'metadata.name', message: 'Give the function a name.' });
  for (const [at, secret] of (draft.spec.imagePullSecrets ?? []).entries()) {
    if (isEmpty(secret.name)) problems.push({ path: `spec.imagePullSecrets[${at}].name`, message: 'Type the name of the Secret.' });
  }
  if (draft.spec.image?.trim() === '') problems.push({ path: 'spec.image', message: 'Type the image to run.' });
  return problems;
}

function volumeProblems(spec: Spec): Problem[] {
  return (spec.volumes ?? []).flatMap((volume, at) => {
    const path = `spec.volumes[${at}]`;
    const problems: Problem[] = [];
    if (isEmpty(volume.name)) problems.push({ path: `${path}.name`, message: 'Choose a volume.' });
    if (isEmpty(volume.mountPath)) problems.push({ path: `${path}.mountPath`, message: 'Type the path to mount it at.' });
    return problems;
  });
}

export const draftOfDetail = (detail: Detail): Draft => draftOf(detail.name, detail.spec, detail.secrets);

/** What a save does to secrets, in words. */
export function secretWords(rows: readonly SecretRow[]): string[] {
  return rows.flatMap((row) => {
    const name = row.name.trim();
    if (name === '' || row.action === 'keep') return [];
    if (row.action === 'delete') return [`Deletes the secret ${name}.`];
    return [row.stored ? `Replaces the value of the secret ${name}.` : `Sets the secret ${name}.`];
  });
}
