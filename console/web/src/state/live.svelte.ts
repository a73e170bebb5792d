import { openStream, type Connection } from '../api/stream.ts';
import type { Detail, Line, RateSource, StreamEvent } from '../api/types.ts';

export interface Rate {
  time: number;
  perSecond: number;
  replicas: number;
  source: RateSource;
}

/** As many as a narrow line can show: five minutes of two seconds, or more of longer ones. */
const RATES = 150;

/** What the server tells of one function while its page is open. Never touches what is edited. */
export class Live {
  detail = $state.raw<Detail | null>(null);
  connection = $state<Connection>('connecting');
  isGone = $state(false);
  error = $state('');
  rates = $state.raw<Rate[]>([]);
  /** Grows whenever lines come from now on: what was written before is in the range alone. */
  logsSince = $state(0);

  private isFirst = false;
  private readonly listeners = new Set<(line: Line) => void>();
  private close: (() => void) | null = null;

  constructor(
    private readonly namespace: string,
    private readonly name: string,
    private readonly onDetail: (detail: Detail) => void,
  ) {}

  start(): void {
    this.open();
  }

  stop(): void {
    this.close?.();
    this.close = null;
  }

  restart(): void {
    if (!this.close) return;
    this.stop();
    this.open();
  }

  /** Lines from now on, until the function that this returns is called. One connection serves all. */
  followLogs(listener: (line: Line) => void): () => void {
    this.listeners.add(listener);
    if (this.listeners.size === 1) this.restart();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.restart();
    };
  }

  private open(): void {
    const logs = this.listeners.size > 0;
    this.close = openStream({
      namespace: this.namespace,
      name: this.name,
      logs,
      onEvent: (event) => this.take(event),
      onConnection: (connection) => {
        this.connection = connection;
        if (connection === 'open') this.isFirst = logs;
      },
    });
  }

  private take(event: StreamEvent): void {
    if (this.isFirst) {
      this.isFirst = false;
      this.logsSince += 1;
    }
    switch (event.type) {
      case 'function':
        this.detail = event.function;
        this.isGone = false;
        this.error = '';
        this.onDetail(event.function);
        break;
      case 'gone':
        this.isGone = true;
        break;
      case 'line':
        for (const listener of this.listeners) listener(event.line);
        break;
      case 'rate': {
        const { perSecond, replicas, source } = event;
        this.rates = [...this.rates, { time: Date.parse(event.time), perSecond, replicas, source }].slice(-RATES);
        break;
      }
      case 'error':
        this.error = event.error;
        break;
      case 'functions':
        break;
    }
  }
}
