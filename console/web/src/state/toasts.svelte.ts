type Tone = 'good' | 'bad';

interface Action {
  label: string;
  run: () => void;
}

export interface Toast {
  id: number;
  text: string;
  tone: Tone;
  action: Action | null;
}

const SHOWN_MS = 5000;
/** Longer where there is something to decide. */
const ACTION_MS = 12_000;

/** Short words about what was just done. Errors stay where they belong: at a field or on the page. */
class Toasts {
  items = $state<Toast[]>([]);
  private lastId = 0;

  show(text: string, tone: Tone = 'good', action: Action | null = null): void {
    const id = ++this.lastId;
    this.items.push({ id, text, tone, action });
    setTimeout(() => this.dismiss(id), action ? ACTION_MS : SHOWN_MS);
  }

  dismiss(id: number): void {
    this.items = this.items.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
