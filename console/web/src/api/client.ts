// Requests to the console's server. The token never leaves this module but in a header.

import type {
  AiChange,
  AiSettings,
  AiTried,
  AssistantDraft,
  Base,
  Checked,
  Conflict,
  CronAnswer,
  Detail,
  FirstList,
  InvokeRequest,
  Invoked,
  Knows,
  KubeEvent,
  Login,
  LogsAnswer,
  Meta,
  Problem,
  Provider,
  Revision,
  Saved,
  SecretChanges,
  ServiceInfo,
  Spec,
  Summary,
  VolumeInfo,
} from './types.ts';
import { patiently } from './patiently.ts';

const ROOT = '/api/v1';
const READ_MS = 30_000;
/** A save may create databases and wait for the API server more than once. */
const WRITE_MS = 90_000;

interface ErrorBody {
  error?: string;
  reason?: string;
  problems?: Problem[];
  conflicts?: Conflict[];
  current?: Detail;
  login?: Login;
  written?: string[];
  provider?: Provider;
}

/** An answer that is an error, or none at all (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly problems: Problem[];
  readonly conflicts: Conflict[];
  readonly current: Detail | null;
  /** How to log in, where the request was of nobody. */
  readonly login: Login | null;
  readonly provider: Provider | null;
  /** What is stored all the same. */
  readonly written: string[];

  constructor(status: number, body: ErrorBody) {
    super(body.error ?? `The console's server answered ${status}.`);
    this.name = 'ApiError';
    this.status = status;
    this.reason = body.reason ?? 'unknown';
    this.problems = body.problems ?? [];
    this.conflicts = body.conflicts ?? [];
    this.current = body.current ?? null;
    this.login = body.login ?? null;
    this.provider = body.provider ?? null;
    this.written = body.written ?? [];
  }
}

let token: string | null = null;
let onUnauthenticated: (failure: ApiError) => void = () => {};

export function setToken(value: string | null): void {
  token = value;
}

/** Called whenever the server no longer knows who asks. */
export function whenUnauthenticated(listener: (failure: ApiError) => void): void {
  onUnauthenticated = listener;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Every request goes through here, the stream's too. Throws an `ApiError` unless the answer is 2xx. */
export async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (token) headers['Authorization'] = `Bearer ${token}`;
  if (method !== 'GET') headers['Kipper-Console'] = '1';
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(ROOT + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: 'no-store',
      signal: signal ?? AbortSignal.timeout(method === 'GET' ? READ_MS : WRITE_MS),
    });
  } catch (error) {
    throw withoutAnswer(error);
  }
  if (response.ok) return response;
  const failure = new ApiError(response.status, await errorBody(response));
  if (failure.status === 401) onUnauthenticated(failure);
  throw failure;
}

function withoutAnswer(error: unknown): unknown {
  const name = error instanceof Error ? error.name : '';
  if (name === 'AbortError') return error;
  if (name === 'TimeoutError') {
    return new ApiError(0, { error: 'The console’s server did not answer in time.', reason: 'timeout' });
  }
  return new ApiError(0, { error: 'The console’s server cannot be reached.', reason: 'unreachable' });
}

async function errorBody(response: Response): Promise<ErrorBody> {
  try {
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null ? (body as ErrorBody) : {};
  } catch {
    return {};
  }
}

/** Whether no answer came at all, for no reason that the server knows. */
function isUnanswered(error: unknown): boolean {
  return error instanceof ApiError && error.status === 0 && error.reason === 'unreachable';
}

async function json<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const ask = () => send(method, path, body, signal);
  const response = await (method === 'GET' ? patiently(ask, isUnanswered) : ask());
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (error instanceof Error && error.name !== 'SyntaxError') throw withoutAnswer(error);
    throw new ApiError(response.status, { error: 'The console’s server answered with something other than JSON.' });
  }
}

async function nothing(method: string, path: string, body?: unknown): Promise<void> {
  await send(method, path, body);
}

const within = (ns: string, rest: string): string => `/ns/${encodeURIComponent(ns)}/${rest}`;
const functions = (ns: string): string => within(ns, 'functions');
const one = (ns: string, fn: string, rest = ''): string => `${functions(ns)}/${encodeURIComponent(fn)}${rest}`;

interface Items<T> {
  items: T[];
}

export const api = {
  login: (value: string) => nothing('POST', '/session', { token: value }),
  logout: () => nothing('DELETE', '/session'),
  meta: () => json<Meta>('GET', '/meta'),
  namespaces: async () => (await json<{ items: string[] | null }>('GET', '/namespaces')).items,
  list: async (ns: string) => (await json<Items<Summary>>('GET', functions(ns))).items,
  /** Of the namespace to begin with, which only the server knows. */
  firstList: () => json<FirstList>('GET', '/functions'),
  get: (ns: string, fn: string) => json<Detail>('GET', one(ns, fn)),
  create: (ns: string, name: string, spec: Spec, secrets: Record<string, string>) =>
    json<Saved>('POST', functions(ns), { name, spec, secrets: { set: secrets } }),
  save: (ns: string, fn: string, spec: Spec, secrets: SecretChanges, base: Base) =>
    json<Saved>('PUT', one(ns, fn), { spec, secrets, base }),
  remove: (ns: string, fn: string) => nothing('DELETE', one(ns, fn)),
  check: (body: { namespace: string; name: string; spec: Spec; isNew: boolean }, signal?: AbortSignal) =>
    json<Checked>('POST', '/check', body, signal),
  cron: (schedule: string, timeZone: string | null, signal?: AbortSignal) =>
    json<CronAnswer>('POST', '/cron', { schedule, timeZone }, signal),
  services: async (ns: string) => (await json<Items<ServiceInfo>>('GET', within(ns, 'services'))).items,
  volumes: async (ns: string) => (await json<Items<VolumeInfo>>('GET', within(ns, 'volumes'))).items,
  injectedNames: async (kind: string, prefix: string | null) =>
    (await json<{ names: string[] }>('POST', '/bindings/preview', { kind, prefix })).names,
  logs: (ns: string, fn: string, since: string, search: string, signal?: AbortSignal) =>
    json<LogsAnswer>('GET', `${one(ns, fn, '/logs')}?${new URLSearchParams({ since, search })}`, undefined, signal),
  events: async (ns: string, fn: string) => (await json<Items<KubeEvent>>('GET', one(ns, fn, '/events'))).items,
  revisions: async (ns: string, fn: string) => (await json<Items<Revision>>('GET', one(ns, fn, '/revisions'))).items,
  rollback: (ns: string, fn: string, revision: number) => json<Saved>('POST', one(ns, fn, '/rollback'), { revision }),
  /** Why no function can be made in a namespace; null where it can. */
  createRefusal: async (ns: string) => (await json<{ create: string | null }>('GET', within(ns, 'rights'))).create,
  restart: (ns: string, fn: string) =>
    json<{ restarted: boolean; why: string | null }>('POST', one(ns, fn, '/restart')),
  testRun: (ns: string, fn: string) => json<{ run: string }>('POST', one(ns, fn, '/test')),
  invoke: (ns: string, fn: string, request: InvokeRequest, signal?: AbortSignal) =>
    json<Invoked>('POST', one(ns, fn, '/invoke'), request, signal),
  aiSettings: () => json<AiSettings>('GET', '/settings/ai'),
  saveAiSettings: (change: AiChange) => json<AiSettings>('PUT', '/settings/ai', change),
  removeAiSettings: () => json<AiSettings>('DELETE', '/settings/ai'),
  tryAi: (change: AiChange, signal?: AbortSignal) => json<AiTried>('POST', '/settings/ai/try', change, signal),
  knows: (draft: AssistantDraft, signal?: AbortSignal) => json<Knows>('POST', '/assistant/knows', { draft }, signal),
};
