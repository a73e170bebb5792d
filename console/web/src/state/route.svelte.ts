export type Route =
  | { page: 'list' }
  | { page: 'new' }
  | { page: 'settings' }
  | { page: 'function'; namespace: string; name: string }
  | { page: 'unknown' };

/** Null where nothing is in the way of leaving; else asks, and says whether to go. */
type Guard = () => Promise<boolean>;

export function parseRoute(pathname: string): Route {
  if (pathname === '/' || pathname === '') return { page: 'list' };
  if (pathname === '/new') return { page: 'new' };
  if (pathname === '/settings') return { page: 'settings' };
  const match = /^\/ns\/([^/]+)\/([^/]+)\/?$/.exec(pathname);
  const namespace = decoded(match?.[1]);
  const name = decoded(match?.[2]);
  return namespace && name ? { page: 'function', namespace, name } : { page: 'unknown' };
}

function decoded(part: string | undefined): string | null {
  try {
    return decodeURIComponent(part ?? '');
  } catch {
    return null;
  }
}

export const functionPath = (namespace: string, name: string): string =>
  `/ns/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;

/** Where the page is: the path says which function, the hash which section. */
class Router {
  path = $state(location.pathname);
  hash = $state(location.hash.slice(1));
  readonly route: Route = $derived(parseRoute(this.path));

  private guard: Guard | null = null;

  constructor() {
    window.addEventListener('popstate', () => void this.onPop());
  }

  /** Sets what is asked before the present page is left; returns a function that takes it back. */
  guardWith(guard: Guard): () => void {
    this.guard = guard;
    return () => {
      if (this.guard === guard) this.guard = null;
    };
  }

  async go(path: string): Promise<void> {
    if (path !== this.path && this.guard && !(await this.guard())) return;
    this.follow(path);
  }

  /** Without asking: what was there has been saved or is gone. */
  follow(path: string, replace = false): void {
    const url = new URL(path, location.origin);
    this.guard = url.pathname === this.path ? this.guard : null;
    history[replace ? 'replaceState' : 'pushState'](null, '', url.pathname + url.hash);
    this.read();
    if (!url.hash) window.scrollTo(0, 0);
  }

  /** The section in the address, without an entry in the history for each. */
  showSection(id: string): void {
    history.replaceState(history.state, '', `${location.pathname}#${id}`);
    this.hash = id;
  }

  private async onPop(): Promise<void> {
    if (location.pathname !== this.path && this.guard) {
      const wanted = location.pathname + location.hash;
      // The browser has gone back already: this page gets its entry again while the question stands.
      history.pushState(null, '', this.path + (this.hash && `#${this.hash}`));
      if (await this.guard()) this.follow(wanted);
      return;
    }
    this.read();
  }

  private read(): void {
    this.path = location.pathname;
    this.hash = location.hash.slice(1);
  }
}

export const router = new Router();

/** For links: follows them within the page unless the click asks for a new tab or window. */
export function followLink(event: MouseEvent): void {
  const link = event.currentTarget;
  if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented) return;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  void router.go(link.pathname + link.hash);
}
