import { api, messageOf } from '../api/client.ts';
import { openStream, type Connection } from '../api/stream.ts';
import type { Summary } from '../api/types.ts';
import { session } from './session.svelte.ts';

/** The functions of a namespace, as they are now. */
export class FunctionListState {
  /** Null until they are known: a list that failed to load is not an empty one. */
  items = $state.raw<Summary[] | null>(null);
  error = $state('');
  /** Why no function can be made here. */
  createRefusal = $state<string | null>(null);
  connection = $state<Connection>('connecting');
  private close: (() => void) | null = null;
  /** Grows with each start and stop: what was begun before is over. */
  private runs = 0;
  /** Grows with each list that comes or is asked for: one that was asked for before is older. */
  private lists = 0;

  constructor(readonly namespace: string) {}

  start(): void {
    const run = ++this.runs;
    void this.load().then(() => {
      if (run === this.runs) this.follow(run);
    });
  }

  private async load(): Promise<void> {
    const lists = ++this.lists;
    const first = await session.takeFirstList();
    if (lists !== this.lists) return;
    if (first?.namespace === this.namespace) this.take(first.items);
    else await this.reload();
  }

  /** After the list, which is what the page is for: the stream begins with all there are. */
  private follow(run: number): void {
    const take = (why: string | null): void => {
      if (run === this.runs) this.createRefusal = why;
    };
    // Without an answer, the save will tell.
    void api.createRefusal(this.namespace).then(take, () => {});
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
    this.runs += 1;
    this.close?.();
    this.close = null;
  }

  async reload(): Promise<void> {
    const lists = ++this.lists;
    try {
      const items = await api.list(this.namespace);
      if (lists === this.lists) this.take(items);
    } catch (error) {
      if (lists === this.lists) this.error = messageOf(error);
    }
  }

  private take(items: Summary[]): void {
    this.lists += 1;
    // By name already.
    this.items = items;
    this.error = '';
  }
}
