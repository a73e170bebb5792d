// One long answer of newline-delimited JSON, opened again whenever it ends.

import { ApiError, send } from './client.ts';
import type { StreamEvent } from './types.ts';

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
/** The server sends something at least every 15 s: longer silence is a dead connection. */
export const SILENCE_MS = 40_000;
/** A hidden page lets go of its connection after this; another tab may need it. */
const HIDDEN_MS = 60_000;
/** A line longer than this is no longer one of ours: a log line has at most 1 MiB. */
const LONGEST_LINE = 8 * 1024 * 1024;

export type Connection = 'connecting' | 'open' | 'lost' | 'paused';

export interface StreamOptions {
  namespace: string;
  name?: string;
  logs?: boolean;
  onEvent(event: StreamEvent): void;
  onConnection?(connection: Connection): void;
}

/** Opens the stream and keeps it open until the function that this returns is called. */
export function openStream(options: StreamOptions): () => void {
  const connector = new Connector(options);
  connector.start();
  return () => connector.stop();
}

class Connector {
  private readonly options: StreamOptions;
  private abort: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private stopped = false;

  constructor(options: StreamOptions) {
    this.options = options;
  }

  start(): void {
    document.addEventListener('visibilitychange', this.onVisibility);
    window.addEventListener('online', this.onOnline);
    // Connects, or in a page that is not seen yet waits a while before it lets go.
    void this.connect();
    this.onVisibility();
  }

  stop(): void {
    this.stopped = true;
    document.removeEventListener('visibilitychange', this.onVisibility);
    window.removeEventListener('online', this.onOnline);
    clearTimeout(this.timer);
    clearTimeout(this.hiddenTimer);
    this.abort?.abort();
  }

  private readonly onVisibility = (): void => {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = setTimeout(() => this.pause(), HIDDEN_MS);
    } else if (!this.abort) {
      this.reconnectNow();
    }
  };

  private readonly onOnline = (): void => {
    if (!this.abort) this.reconnectNow();
  };

  private pause(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
    this.options.onConnection?.('paused');
  }

  private reconnectNow(): void {
    clearTimeout(this.timer);
    void this.connect();
  }

  private async connect(): Promise<void> {
    if (this.stopped || this.abort) return;
    const abort = new AbortController();
    this.abort = abort;
    this.options.onConnection?.('connecting');
    try {
      await this.read(abort);
    } catch (error) {
      // The session's dialog is up; whoever logs in again opens a new stream.
      if (error instanceof ApiError && error.status === 401) this.failures = Math.max(this.failures, 4);
    }
    // Aborted by stop, pause or a newer connection: none of them wants another attempt from here.
    if (this.stopped || this.abort !== abort) return;
    this.abort = null;
    this.options.onConnection?.('lost');
    this.timer = setTimeout(() => void this.connect(), retryDelay(this.failures, Math.random()));
    this.failures += 1;
  }

  private async read(abort: AbortController): Promise<void> {
    const { namespace, name, logs, onEvent, onConnection } = this.options;
    const query = new URLSearchParams({ ns: namespace });
    if (name) query.set('fn', name);
    if (logs) query.set('logs', 'true');
    let silence = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const response = await send('GET', `/stream?${query}`, undefined, abort.signal);
      onConnection?.('open');
      for await (const line of lines(response)) {
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENCE_MS);
        if (abort.signal.aborted) return;
        const event = parseEvent(line);
        this.failures = failuresAfter(event, this.failures);
        if (event) onEvent(event);
      }
    } finally {
      clearTimeout(silence);
    }
  }
}

/** Failures in a row once this line has come. An error is how a stream ends: a missing right is not asked about in a rush. */
export function failuresAfter(event: StreamEvent | null, failures: number): number {
  return event?.type === 'error' ? failures : 0;
}

/** How long to wait after `failures` attempts in a row; `random` in 0..1 spreads many pages. */
export function retryDelay(failures: number, random: number): number {
  const longest = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
  return longest / 2 + (longest / 2) * random;
}

/** An event of the stream; null for a keep-alive, and for a word of a later version. */
export function parseEvent<T = StreamEvent>(line: string): T | null {
  if (line.trim() === '') return null;
  try {
    const value: unknown = JSON.parse(line);
    const isEvent = typeof value === 'object' && value !== null && 'type' in value;
    return isEvent ? (value as T) : null;
  } catch {
    return null;
  }
}

/** The lines of an answer that goes on; one that is not finished is none. */
export async function* lines(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split('\n');
      rest = parts.pop() ?? '';
      if (rest.length > LONGEST_LINE) return;
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
