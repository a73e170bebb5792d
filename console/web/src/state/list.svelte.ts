import { api, messageOf } from '../api/client.ts';
import { openStream, type Connection } from '../api/stream.ts';
import type { Summary } from '../api/types.ts';

/** The functions of a namespace, as they are now. */
export class FunctionListState {
  /** Null until they are known: a list that failed to load is not an empty one. */
  items = $state.raw<Summary[] | null>(null);
  error = $state('');
  connection = $state<Connection>('connecting');
  private close: (() => void) | null = null;

  constructor(readonly namespace: string) {}

  start(): void {
    void this.reload();
    this.close = openStream({
      namespace: this.namespace,
      onConnection: (connection) => (this.connection = connection),
      onEvent: (event) => {
        if (event.type === 'functions') this.take(event.items);
        if (event.type === 'error') this.error = event.error;
      },
    });
  }

  stop(): void {
    this.close?.();
  }

  async reload(): Promise<void> {
    try {
      this.take(await api.list(this.namespace));
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  private take(items: Summary[]): void {
    this.items = items.toSorted((a, b) => a.name.localeCompare(b.name));
    this.error = '';
  }
}
