import { untrack } from 'svelte';
import { messageOf } from '../api/client.ts';

/** Something that is fetched: while it is not `ready`, its absence says nothing. */
export class Load<T> {
  value = $state.raw<T | null>(null);
  error = $state('');
  isLoading = $state(false);
  private attempt = 0;

  constructor(private readonly fetcher: () => Promise<T>) {}

  /** Fetches again; what was there stays until the answer comes. */
  async reload(): Promise<void> {
    const attempt = ++this.attempt;
    this.isLoading = true;
    try {
      const value = await this.fetcher();
      if (attempt !== this.attempt) return;
      this.value = value;
      this.error = '';
    } catch (error) {
      if (attempt === this.attempt) this.error = messageOf(error);
    } finally {
      if (attempt === this.attempt) this.isLoading = false;
    }
  }

  /** Takes over what another answer says; what was asked for before it is older. */
  take(value: T): void {
    this.attempt += 1;
    this.value = value;
    this.error = '';
    this.isLoading = false;
  }

  /** Fetches unless that was done, or is being done, already. An effect that calls this does not depend on it. */
  ensure(): void {
    untrack(() => {
      if (this.value === null && !this.isLoading) void this.reload();
    });
  }
}
