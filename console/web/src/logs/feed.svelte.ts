import { api, messageOf } from '../api/client.ts';
import type { Line, LogsAnswer } from '../api/types.ts';
import { LogBuffer, type Entry } from './buffer.ts';
import { matcher } from './search.ts';

export const RANGES = [
  { value: '5m', label: 'Last 5 minutes' },
  { value: '15m', label: 'Last 15 minutes' },
  { value: '1h', label: 'Last hour' },
  { value: '6h', label: 'Last 6 hours' },
  { value: '24h', label: 'Last 24 hours' },
  { value: '7d', label: 'Last 7 days' },
] as const;
export type Range = (typeof RANGES)[number]['value'];

/** Lines that arrive are shown together, so that a flood of them leaves time for typing. */
const FLUSH_MS = 100;
/** A store of logs may be this far behind the stream: lines so young are kept when a range is loaded. */
const LAG_MS = 60_000;
/** Young lines kept for that. */
const MAX_RECENT = 5_000;
/** Lines that wait to be shown; more would be let go by the buffer anyway. */
const MAX_WAITING = 20_000;

/** The logs of one function: a range of the past and everything since. */
export class LogFeed {
  range = $state<Range>('1h');
  search = $state('');
  entries = $state.raw<readonly Entry[]>([]);
  dropped = $state(0);
  notices = $state.raw<string[]>([]);
  error = $state('');
  isLoading = $state(false);
  /** False until a range was there: nothing is said of a function whose logs are not known. */
  isLoaded = $state(false);
  /** Lines of the last range that was loaded. */
  loaded = $state(0);

  readonly shown: readonly Entry[] = $derived.by(() => {
    if (this.search === '') return this.entries;
    const matches = matcher(this.search);
    return this.entries.filter((entry) => matches(entry.line.text));
  });

  private readonly buffer = new LogBuffer();
  private recent: { line: Line; arrived: number }[] = [];
  private waiting: Line[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private abort: AbortController | null = null;

  constructor(
    private readonly namespace: string,
    private readonly name: string,
  ) {}

  async load(): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.isLoading = true;
    try {
      const answer = await api.logs(this.namespace, this.name, this.range, this.search, abort.signal);
      if (this.abort === abort) this.take(answer);
    } catch (error) {
      if (this.abort === abort) this.error = messageOf(error);
    } finally {
      if (this.abort === abort) this.isLoading = false;
    }
  }

  private take(answer: LogsAnswer): void {
    const young = Date.now() - LAG_MS;
    this.recent = this.recent.filter(({ arrived }) => arrived >= young);
    this.waiting = [];
    this.buffer.clear();
    this.buffer.append(this.recent.map(({ line }) => line));
    this.buffer.load(answer.lines);
    this.notices = answer.notices;
    this.error = '';
    this.isLoaded = true;
    this.loaded = answer.lines.length;
    this.publish();
  }

  /** A line of the stream. */
  add(line: Line): void {
    this.recent.push({ line, arrived: Date.now() });
    if (this.recent.length > MAX_RECENT) this.recent = this.recent.slice(-MAX_RECENT / 2);
    this.waiting.push(line);
    if (this.waiting.length > MAX_WAITING) this.waiting = this.waiting.slice(-MAX_WAITING / 2);
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  private flush(): void {
    this.timer = undefined;
    this.buffer.append(this.waiting);
    this.waiting = [];
    this.publish();
  }

  private publish(): void {
    this.entries = [...this.buffer.all];
    this.dropped = this.buffer.dropped;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
  }
}
