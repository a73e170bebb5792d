/** The one range by which two texts differ, so that replacing one by the other keeps caret and scroll. */
export interface Difference {
  from: number;
  to: number;
  insert: string;
}

export function differenceOf(old: string, text: string): Difference | null {
  if (old === text) return null;
  const shorter = Math.min(old.length, text.length);
  let from = 0;
  while (from < shorter && old.charCodeAt(from) === text.charCodeAt(from)) from += 1;
  let same = 0;
  while (same < shorter - from && old.charCodeAt(old.length - 1 - same) === text.charCodeAt(text.length - 1 - same)) same += 1;
  return { from, to: old.length - same, insert: text.slice(from, text.length - same) };
}
