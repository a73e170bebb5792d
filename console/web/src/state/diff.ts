// The difference of two texts, line by line. Pure.

export interface DiffLine {
  kind: 'same' | 'added' | 'removed' | 'gap';
  text: string;
}

/** Lines around a change that are shown with it. */
const CONTEXT = 3;
/** More rows than this nobody reads, and a page of them is slow. */
const MAX_SHOWN = 2000;
/** Beyond so many steps two texts have little in common, and all of both is shown. */
const MAX_CELLS = 4_000_000;

export function lineDiff(before: string, after: string): DiffLine[] {
  return folded(rawDiff(linesOf(before), linesOf(after)));
}

function linesOf(text: string): string[] {
  if (text === '') return [];
  return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}

function rawDiff(a: string[], b: string[]): DiffLine[] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const same = (lines: string[]): DiffLine[] => lines.map((text) => ({ kind: 'same', text }));
  const middle = middleDiff(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return [...same(a.slice(0, head)), ...middle, ...same(a.slice(a.length - tail))];
}

/** By the longest common subsequence; the table's rows are the lines of `a`. */
function middleDiff(a: string[], b: string[]): DiffLine[] {
  const removed = a.map((text): DiffLine => ({ kind: 'removed', text }));
  const added = b.map((text): DiffLine => ({ kind: 'added', text }));
  if (a.length * b.length > MAX_CELLS) return [...removed, ...added];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => longest[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      lines.push({ kind: 'same', text: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (at(i + 1, j) >= at(i, j + 1)) {
      lines.push(...removed.slice(i, (i += 1)));
    } else {
      lines.push(...added.slice(j, (j += 1)));
    }
  }
  return [...lines, ...removed.slice(i), ...added.slice(j)];
}

/** Leaves out what is the same far from any change. */
function folded(lines: DiffLine[]): DiffLine[] {
  const isNear = new Uint8Array(lines.length);
  lines.forEach((line, at) => {
    if (line.kind !== 'same') isNear.fill(1, Math.max(0, at - CONTEXT), at + CONTEXT + 1);
  });
  const shown: DiffLine[] = [];
  let hidden = 0;
  const close = (): void => {
    if (hidden > 0) shown.push({ kind: 'gap', text: hidden === 1 ? '1 line is the same' : `${hidden} lines are the same` });
    hidden = 0;
  };
  lines.forEach((line, at) => {
    if (isNear[at]) {
      close();
      shown.push(line);
    } else hidden += 1;
  });
  close();
  return cut(shown);
}

function cut(lines: DiffLine[]): DiffLine[] {
  const rest = lines.length - MAX_SHOWN;
  return rest > 0 ? [...lines.slice(0, MAX_SHOWN), { kind: 'gap', text: `${rest} more lines` }] : lines;
}
