// Rows of the form's tables: what is being typed, half-typed included. Pure.

import type { Problem } from '../api/types.ts';

export interface Row {
  /** Stays with the row while its name is typed, so that the focus does too. */
  readonly id: number;
  name: string;
  value: string;
  /** Restored from a draft, which keeps no values: it has to be typed again. */
  lost?: boolean;
}

export interface SecretRow extends Row {
  /** True where the cluster has a value of this name. */
  stored: boolean;
  action: 'keep' | 'set' | 'delete';
}

let lastId = 0;

export function newRow(name = '', value = ''): Row {
  lastId += 1;
  return { id: lastId, name, value };
}

export function newSecret(name = '', stored = false): SecretRow {
  return { ...newRow(name), stored, action: stored ? 'keep' : 'set' };
}

const isBlank = (row: Row): boolean => row.name.trim() === '' && row.value === '';

export function rowsOf(map: Record<string, string> | undefined, former: readonly Row[] = []): Row[] {
  const ids = new Map(former.map((row) => [row.name, row.id]));
  return Object.entries(map ?? {}).map(([name, value]) => {
    const id = ids.get(name);
    return id === undefined ? newRow(name, value) : { id, name, value };
  });
}

export function mapOf(rows: readonly Row[]): Record<string, string> {
  return Object.fromEntries(rows.filter((row) => row.name.trim() !== '').map((row) => [row.name.trim(), row.value]));
}

/** A problem of a row, and the path at which the server would say much the same of it. */
export interface RowProblem extends Problem {
  instead: string;
}

/** Where a problem of a row is found, before it has a name that the server could know it by. */
export const rowPath = (prefix: string, row: Row): string => `${prefix}#${row.id}`;

export interface RowRules {
  /** What stands in front of the name in a path: `spec.env`. */
  prefix: string;
  /** How a name is called here: `name`, `package`. */
  noun: string;
  needsValue?: string;
}

/** What is wrong with the rows themselves: each problem would otherwise lose a row without a word. */
export function rowProblems(rows: readonly Row[], rules: RowRules): RowProblem[] {
  const seen = new Set<string>();
  const problems: RowProblem[] = [];
  for (const row of rows) {
    if (isBlank(row) && !row.lost) continue;
    const name = row.name.trim();
    const add = (message: string): number => problems.push({ path: rowPath(rules.prefix, row), instead: `${rules.prefix}.${name}`, message });
    if (name === '') add(`Give this value a ${rules.noun}, or remove the row.`);
    else if (seen.has(name)) add(`There is another row with the ${rules.noun} ${name}.`);
    else if (row.lost) add('Drafts do not keep values. Type this one again.');
    else if (rules.needsValue && row.value.trim() === '') add(rules.needsValue);
    seen.add(name);
  }
  return problems;
}

export function secretProblems(rows: readonly SecretRow[]): RowProblem[] {
  const seen = new Set<string>();
  const problems: RowProblem[] = [];
  for (const row of rows) {
    const name = row.name.trim();
    const isUntouched = name === '' && row.value === '' && !row.stored;
    if (isUntouched) continue;
    const add = (message: string): number => problems.push({ path: rowPath('secrets', row), instead: `secrets.${name}`, message });
    if (name === '') add('Give this value a name, or remove the row.');
    else if (seen.has(name)) add(`There is another secret with the name ${name}.`);
    else if (!/^[-._A-Za-z][-._A-Za-z0-9]*$/.test(name)) {
      add('A name consists of letters, digits, “_”, “-” and “.”, and does not start with a digit.');
    } else if (row.action === 'set' && row.value === '') {
      add(row.lost ? 'Drafts do not keep secrets. Type this one again.' : 'Type the value.');
    }
    seen.add(name);
  }
  return problems;
}

const DOT_ENV = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\[^])*)"|'([^']*)'|([^\n]*))[ \t]*(?:#[^\n]*)?$/gm;

/** The lines of a `.env` file that say nothing of a variable, and are no comments. */
export function strayLines(text: string): string[] {
  const rest = text.replace(/\r\n?/g, '\n').replace(DOT_ENV, '').split('\n');
  return rest.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
}

/** Reads the text of a `.env` file: `NAME=value` lines, quotes, `export`, comments. Null if it is none. */
export function parseDotEnv(text: string): { name: string; value: string }[] | null {
  const pairs = [...text.replace(/\r\n?/g, '\n').matchAll(DOT_ENV)].map((match) => ({
    name: match[1] ?? '',
    value: match[2] !== undefined ? unescape(match[2]) : (match[3] ?? plain(match[4] ?? '')),
  }));
  const meaningful = text.split('\n').filter((line) => line.trim() !== '' && !line.trim().startsWith('#'));
  if (pairs.length === 0 || !/^\s*(?:export\s+)?[A-Za-z_][\w.-]*\s*=/.test(meaningful[0] ?? '')) return null;
  return pairs;
}

const unescape = (text: string): string =>
  text.replace(/\\([^])/g, (whole, char: string) => ({ n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\' })[char] ?? whole);

const plain = (text: string): string => text.replace(/\s+#.*$/, '').trim();

/** Splits `name@version`, `@scope/name@version` and Python's `name==version`. */
export function parseDependency(text: string): { name: string; value: string } {
  const trimmed = text.trim();
  const python = /^([A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?)\s*((?:==|>=|<=|~=|!=|>|<).*)$/.exec(trimmed);
  if (python) return { name: python[1] ?? '', value: (python[2] ?? '').replace(/^==\s*/, '') };
  const at = trimmed.indexOf('@', 1);
  if (at < 0) return { name: trimmed, value: '' };
  return { name: trimmed.slice(0, at).trim(), value: trimmed.slice(at + 1).trim() };
}
