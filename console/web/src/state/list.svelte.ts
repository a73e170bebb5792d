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
  private isStopped = false;

  constructor(readonly namespace: string) {}

  start(): void {
    this.isStopped = false;
    void this.load().then(() => this.follow());
  }

  private async load(): Promise<void> {
    const first = await session.takeFirstList();
    if (first?.namespace === this.namespace) this.take(first.items);
    else await this.reload();
  }

  /** After the list, which is what the page is for: the stream begins with all there are. */
  private follow(): void {
    if (this.isStopped) return;
    // Without an answer, the save will tell.
    void api.createRefusal(this.namespace).then((why) => (this.createRefusal = why), () => {});
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
    this.isStopped = true;
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
    // By name already.
    this.items = items;
    this.error = '';
  }
}
