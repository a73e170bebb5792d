/** A request that is being written, and what is wrong with it. Pure. */
import type { Invoked, InvokeRequest } from '../api/types.ts';

export const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'];
export const BODILESS = new Set(['GET', 'HEAD']);

export type BodyKind = 'json' | 'text' | 'form';
const TYPES: Record<BodyKind, string> = {
  json: 'application/json',
  text: 'text/plain; charset=utf-8',
  form: 'application/x-www-form-urlencoded',
};

export interface Header {
  id: number;
  name: string;
  value: string;
}

export interface Draft {
  method: string;
  path: string;
  headers: Header[];
  kind: BodyKind;
  body: string;
}

export const firstDraft = (): Draft => ({ method: 'POST', path: '/', headers: [], kind: 'json', body: '{}' });

const hasBody = (draft: Draft): boolean => !BODILESS.has(draft.method) && draft.body !== '';

export function pathProblem(path: string): string | null {
  if (!path.startsWith('/')) return 'A path starts with “/”.';
  return /[\s#\u0000-\u001f\u007f]/.test(path) ? 'A path has no spaces and no “#”. Write them as %20 and %23.' : null;
}

export function headerProblem({ name, value }: Header): string | null {
  if (name === '') return value === '' ? null : 'Give this header a name.';
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return 'A header’s name has letters, digits and “-”.';
  return /[^\t\u0020-\u007e\u0080-\u00ff]/.test(value) ? 'A header’s value is one line of Latin letters and signs.' : null;
}

/** What the parser says, with the line where it says so. */
export function bodyProblem(draft: Draft): string | null {
  if (draft.kind !== 'json' || !hasBody(draft) || draft.body.trim() === '') return null;
  try {
    JSON.parse(draft.body);
    return null;
  } catch (error) {
    const message = error instanceof Error ? error.message.replace(/^JSON\.parse: /, '') : '';
    return `Not valid JSON: ${message}.`;
  }
}

export function formatted(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

export function requestOf(draft: Draft): InvokeRequest {
  const headers = draft.headers.filter(({ name }) => name !== '').map(({ name, value }): [string, string] => [name, value]);
  const body = hasBody(draft) ? draft.body : '';
  const isTyped = headers.some(([name]) => name.toLowerCase() === 'content-type');
  if (body !== '' && !isTyped) headers.push(['Content-Type', TYPES[draft.kind]]);
  return { method: draft.method, path: draft.path, headers, body };
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** The same request for a shell. */
export function curlOf(url: string, { method, path, headers, body }: InvokeRequest): string {
  const parts = [`curl -i ${quoted(url.replace(/\/$/, '') + path)}`];
  if (method === 'HEAD') parts[0] = `curl -I ${quoted(url.replace(/\/$/, '') + path)}`;
  else if (method !== (body === '' ? 'GET' : 'POST')) parts.push(`-X ${method}`);
  parts.push(...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`));
  if (body !== '') parts.push(`--data-raw ${quoted(body)}`);
  return parts.join(' \\\n  ');
}

export interface ShownBody {
  text: string;
  note: string;
}

/** The answer's body to look at. */
export function bodyOf(answer: Invoked, isPretty: boolean): ShownBody {
  const note = answer.truncated ? 'Only the first 256 KiB are shown.' : '';
  if (answer.body === '') return { text: '', note: 'The answer has no body.' };
  if (!answer.isText) {
    const bytes = Math.floor((answer.body.replace(/=+$/, '').length * 3) / 4);
    return { text: '', note: `A binary body of ${answer.truncated ? 'more than ' : ''}${bytes.toLocaleString('en')} bytes.` };
  }
  return { text: isPretty && isJson(answer) ? formatted(answer.body) : answer.body, note };
}

export function isJson(answer: Invoked): boolean {
  if (!answer.isText || answer.truncated) return false;
  const type = answer.headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  return /^application\/([\w.+-]+\+)?json\b/i.test(type);
}
