import { untrack } from 'svelte';
import { SvelteMap } from 'svelte/reactivity';

/** Which paths have a field on the page. */
export class Claims {
  private readonly counts = new SvelteMap<string, number>();

  has(path: string): boolean {
    return this.counts.has(path);
  }

  /** Returns what takes it back. Fields call this in an effect, which must not depend on what it changes. */
  add(path: string): () => void {
    const change = (by: number): void => {
      const count = (this.counts.get(path) ?? 0) + by;
      if (count > 0) this.counts.set(path, count);
      else this.counts.delete(path);
    };
    untrack(() => change(1));
    return () => untrack(() => change(-1));
  }
}
