export type Theme = 'system' | 'light' | 'dark';

const KEY = 'kipper.theme';

class ThemeState {
  choice = $state<Theme>(stored());
  private readonly media = matchMedia('(prefers-color-scheme: dark)');
  private systemIsDark = $state(this.media.matches);
  /** What the page and the editor look like. */
  readonly isDark: boolean = $derived(this.choice === 'system' ? this.systemIsDark : this.choice === 'dark');

  constructor() {
    this.media.addEventListener('change', () => (this.systemIsDark = this.media.matches));
    this.apply();
  }

  choose(choice: Theme): void {
    this.choice = choice;
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // It lasts as long as the page, then.
    }
    this.apply();
  }

  private apply(): void {
    if (this.choice === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = this.choice;
  }
}

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

export const theme = new ThemeState();
