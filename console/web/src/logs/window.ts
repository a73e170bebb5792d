/** Which rows of a long list are drawn. Pure. */
export const ROW = 20;
/** Rows drawn beyond each edge, so that a fast scroll does not show holes. */
const MARGIN = 20;
/** Never more rows than this, whatever height the list has. */
export const MAX_ROWS = 160;

export interface Slice {
  start: number;
  end: number;
}

export function sliceAt(scrollTop: number, height: number, count: number): Slice {
  const first = Math.floor(Math.max(0, scrollTop) / ROW);
  const start = Math.max(0, Math.min(first - MARGIN, count - 1));
  const wanted = Math.ceil(height / ROW) + 2 * MARGIN;
  return { start, end: Math.min(count, start + Math.min(wanted, MAX_ROWS)) };
}

export function isAtEnd(scrollTop: number, height: number, count: number): boolean {
  return scrollTop + height >= count * ROW - ROW;
}
