/** Log lines in the order of their times: a range that was loaded, and what came since. Bounded. Pure. */
import type { Line } from '../api/types.ts';

/** Lines kept; beyond them the oldest go. */
export const MAX_LINES = 20_000;
/** Characters kept, for lines of a megabyte each. */
export const MAX_CHARACTERS = 48_000_000;

/** A line with a number that stays with it. */
export interface Entry {
  id: number;
  line: Line;
}

export class LogBuffer {
  private entries: Entry[] = [];
  private characters = 0;
  private lastId = 0;
  /** How many lines were let go because there were too many. */
  dropped = 0;

  get all(): readonly Entry[] {
    return this.entries;
  }

  clear(): void {
    this.entries = [];
    this.characters = 0;
    this.dropped = 0;
  }

  /** Adds lines from the stream. They mostly belong at the end; several pods may be a little out of step. */
  append(lines: readonly Line[]): void {
    for (const line of lines) {
      let at = this.entries.length;
      while (at > 0 && isLater(this.entries[at - 1], line)) at -= 1;
      const entry = this.entry(line);
      if (at === this.entries.length) this.entries.push(entry);
      else this.entries.splice(at, 0, entry);
    }
    this.trim();
  }

  /**
   * Takes over a loaded range. Lines that came by the stream meanwhile stay, once: where the range has a line of the same
   * time, pod and text, that is the same one.
   */
  load(range: readonly Line[]): void {
    const known = new Map<string, number>();
    for (const line of range) known.set(keyOf(line), (known.get(keyOf(line)) ?? 0) + 1);
    const late = this.entries.filter(({ line }) => {
      const count = known.get(keyOf(line)) ?? 0;
      if (count > 0) known.set(keyOf(line), count - 1);
      return count === 0;
    });
    this.clear();
    this.entries = range.map((line) => this.entry(line)).sort((a, b) => compare(a.line, b.line));
    this.append(late.map(({ line }) => line));
    this.trim();
  }

  private entry(line: Line): Entry {
    this.lastId += 1;
    this.characters += line.text.length;
    return { id: this.lastId, line };
  }

  private trim(): void {
    let gone = Math.max(0, this.entries.length - MAX_LINES);
    let left = this.characters;
    for (const { line } of this.entries.slice(0, gone)) left -= line.text.length;
    for (; left > MAX_CHARACTERS && gone < this.entries.length - 1; gone += 1) left -= this.entries[gone]?.line.text.length ?? 0;
    if (gone === 0) return;
    this.entries = this.entries.slice(gone);
    this.characters = left;
    this.dropped += gone;
  }
}

const keyOf = (line: Line): string => `${line.time} ${line.pod} ${line.container} ${line.text}`;

/** Times of RFC 3339 with a different number of decimals: `…:05Z` is before `…:05.1Z`. */
export function compareTimes(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [a.replace(/Z$/, ''), b.replace(/Z$/, '')];
  return x < y ? -1 : x > y ? 1 : 0;
}

const compare = (a: Line, b: Line): number => compareTimes(a.time, b.time);

function isLater(entry: Entry | undefined, line: Line): boolean {
  return entry !== undefined && compare(entry.line, line) > 0;
}
