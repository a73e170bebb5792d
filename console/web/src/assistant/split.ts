/** How editor and assistant share their width. Pure, but for the browser's storage. */

const KEY = 'kipper.assistant-split';
/** The editor's share in percent. */
export const MIN_SHARE = 30;
export const MAX_SHARE = 75;
const DEFAULT_SHARE = 58;
const STEP = 2;

export const bounded = (share: number): number => Math.min(MAX_SHARE, Math.max(MIN_SHARE, Math.round(share)));

/** The share after a key, as the window splitter of ARIA's patterns has it; null for any other key. */
export function shareAfter(key: string, share: number): number | null {
  switch (key) {
    case 'ArrowLeft':
      return bounded(share - STEP);
    case 'ArrowRight':
      return bounded(share + STEP);
    case 'Home':
      return MIN_SHARE;
    case 'End':
      return MAX_SHARE;
    default:
      return null;
  }
}

export function storedShare(): number {
  try {
    const share = Number(localStorage.getItem(KEY));
    return Number.isFinite(share) && share > 0 ? bounded(share) : DEFAULT_SHARE;
  } catch {
    return DEFAULT_SHARE;
  }
}

export function storeShare(share: number): void {
  try {
    localStorage.setItem(KEY, String(share));
  } catch {
    // It lasts as long as the page, then.
  }
}
