// JSON values of a spec: equality, changes and merges, by path. Pure.

export type Json = string | number | boolean | null | undefined | Json[] | { [key: string]: Json };

export interface Change {
  path: string;
  before: Json;
  after: Json;
}

/** Maps whose keys are free text, so that a path below them is one key, dots and all. */
const MAPS = /^spec\.(env|source\.(files|dependencies)|triggers\[\d+\]\.config)$/;

type JsonObject = { [key: string]: Json };

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** True for what an omitted field means too: nothing, an empty text, false, an empty list or map. */
export function isEmpty(value: Json): boolean {
  if (value === undefined || value === null || value === '' || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isObject(value) && Object.keys(value).length === 0;
}

/** Fields of which an omitted one means true: their false says something. */
const ON = new Set(['spec.scaling.burst']);

/** Leaves out the empty fields of objects; the values of free maps stay, an empty variable is one. */
export function pruned(value: Json, path = 'spec'): Json {
  if (Array.isArray(value)) return value.map((item, at) => pruned(item, `${path}[${at}]`));
  if (!isObject(value)) return value;
  if (MAPS.test(path)) return { ...value };
  const kept: JsonObject = {};
  for (const [key, child] of Object.entries(value)) {
    const at = `${path}.${key}`;
    const clean = pruned(child, at);
    if (!isEmpty(clean) || (clean === false && ON.has(at))) kept[key] = clean;
  }
  return kept;
}

/** Deep equality where the order of keys does not count. */
export function isEqual(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, at) => isEqual(item, b[at]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && isEqual(a[key], b[key]));
}

/** Every leaf in which two values differ; lists of plain values are leaves. */
export function changes(before: Json, after: Json, path = 'spec'): Change[] {
  if (isEqual(before, after)) return [];
  if (isObject(before ?? {}) && isObject(after ?? {}) && !(before === undefined && after === undefined)) {
    const a = (before ?? {}) as JsonObject;
    const b = (after ?? {}) as JsonObject;
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return keys.flatMap((key) => changes(a[key], b[key], `${path}.${key}`));
  }
  if (isListOfObjects(before) && isListOfObjects(after)) {
    const length = Math.max(before?.length ?? 0, after?.length ?? 0);
    return Array.from({ length }, (_, at) => changes(before?.[at], after?.[at], `${path}[${at}]`)).flat();
  }
  return [{ path, before, after }];
}

function isListOfObjects(value: Json): value is JsonObject[] | undefined {
  return value === undefined || (Array.isArray(value) && value.length > 0 && value.every(isObject));
}

/** Three-way merge: what only one side changed is taken, what both changed is `mine`. */
export function merge(base: Json, mine: Json, theirs: Json): Json {
  if (isEqual(mine, theirs) || isEqual(base, theirs)) return mine;
  if (isEqual(base, mine)) return theirs;
  if (!isObject(mine) || !isObject(theirs)) return mine;
  const from = isObject(base) ? base : {};
  const merged: JsonObject = {};
  for (const key of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
    const value = merge(from[key], mine[key], theirs[key]);
    if (value !== undefined) merged[key] = value;
  }
  return merged;
}

type Step = string | number;

/** The steps of a path such as `spec.triggers[0].config.query` or `spec.env.my.key`, below `spec`. */
export function steps(path: string): Step[] {
  const found: Step[] = [];
  let at = 'spec';
  let rest = path.replace(/^spec\.?/, '');
  while (rest !== '') {
    const wholeRest = MAPS.test(at);
    const match = wholeRest ? null : /^(?:\[(\d+)\]|([^.[]+))\.?/.exec(rest);
    const key = match?.[2] ?? /^\[(.*)\]$/.exec(rest)?.[1] ?? rest;
    found.push(match?.[1] !== undefined ? Number(match[1]) : key);
    at = match?.[1] !== undefined ? `${at}[${match[1]}]` : `${at}.${key}`;
    rest = match ? rest.slice(match[0].length) : '';
  }
  return found;
}

/** A copy of `root` with the value at `path`; `undefined` removes it. */
export function withValue(root: Json, path: string, value: Json): Json {
  const set = (node: Json, [step, ...rest]: Step[]): Json => {
    if (step === undefined) return value;
    if (typeof step === 'number') {
      const list = Array.isArray(node) ? [...node] : [];
      const item = set(list[step], rest);
      if (item === undefined) list.splice(step, 1);
      else list[step] = item;
      return list;
    }
    const copy: JsonObject = isObject(node) ? { ...node } : {};
    const item = set(copy[step], rest);
    if (item === undefined) delete copy[step];
    else copy[step] = item;
    return copy;
  };
  return set(root, steps(path));
}

/** The value at `path` of a draft that is edited in place. */
export function valueAt(root: object, path: string): unknown {
  let value: unknown = root;
  for (const step of steps(path)) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<Step, unknown>)[step];
  }
  return value;
}

/** Sets the value at `path` in place, and makes what is missing on the way; `undefined` and an empty text remove it. */
export function setValueAt(root: object, path: string, value: Json): void {
  const all = steps(path);
  const last = all.pop();
  if (last === undefined) return;
  let node = root as Record<Step, unknown>;
  for (const [at, step] of all.entries()) {
    node[step] ??= typeof (all[at + 1] ?? last) === 'number' ? [] : {};
    node = node[step] as Record<Step, unknown>;
  }
  if (value === undefined || value === '') delete node[last];
  else node[last] = value;
}
