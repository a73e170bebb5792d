type Tone = 'good' | 'bad';

export interface Toast {
  id: number;
  text: string;
  tone: Tone;
}

const SHOWN_MS = 5000;

/** Short words about what was just done. Errors stay where they belong: at a field or on the page. */
class Toasts {
  items = $state<Toast[]>([]);
  private lastId = 0;

  show(text: string, tone: Tone = 'good'): void {
    const id = ++this.lastId;
    this.items.push({ id, text, tone });
    setTimeout(() => this.dismiss(id), SHOWN_MS);
  }

  dismiss(id: number): void {
    this.items = this.items.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
