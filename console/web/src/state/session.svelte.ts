import { api, ApiError, messageOf, setToken, whenUnauthenticated } from '../api/client.ts';
import type { FirstList, Login, Meta, Provider } from '../api/types.ts';
import { router } from './route.svelte.ts';
import { toasts } from './toasts.svelte.ts';

const TOKEN_KEY = 'kipper.token';
const NAMESPACE_KEY = 'kipper.namespace';
/** Another tab that has a token answers within this; a tab that is asked is one of the same origin. */
const OTHER_TAB_MS = 200;

export type SessionState = 'starting' | 'out' | 'in' | 'failed';

/** Who is here, and what the server can do. */
class Session {
  state = $state<SessionState>('starting');
  /** The server forgot us while a page was open: what is on it stays. */
  isExpired = $state(false);
  error = $state('');
  user = $state('');
  meta = $state.raw<Meta | null>(null);
  namespace = $state('');
  /** Grows with each login, so that what is open connects again. */
  logins = $state(0);

  private firstList: Promise<FirstList | null> = Promise.resolve(null);
  /** On a cluster a token is exchanged for a session; on one machine it goes into each request's header. */
  loginBy = $state<Login>('url');
  /** Where one can log in without a token, and why that failed. */
  provider = $state.raw<Provider | null>(null);

  private token: string | null = null;
  private readonly tabs = new BroadcastChannel('kipper-session');

  constructor() {
    whenUnauthenticated((failure) => {
      if (failure.login) {
        this.loginBy = failure.login;
        this.provider = failure.provider;
      }
      this.expire();
    });
    this.tabs.onmessage = ({ data }: MessageEvent<{ ask?: true; isIn?: true }>) => {
      // A login in another tab is one for this tab as well.
      if (data.isIn && this.isExpired) void this.identify().catch(() => {});
      if (data.ask && this.token && this.state === 'in' && !this.isExpired) {
        this.tabs.postMessage({ token: this.token });
      }
    };
  }

  async start(): Promise<void> {
    const given = takeTokenFromUrl();
    this.useToken(given ?? readStored(TOKEN_KEY) ?? null);
    this.fetchList();
    await this.enter();
    if (this.state === 'out' && !given) {
      const other = await this.askOtherTabs();
      if (other) {
        this.useToken(other);
        await this.enter();
      }
    }
  }

  /** Throws what went wrong, for the form that asked. */
  async login(token: string): Promise<void> {
    if (this.loginBy === 'url') return this.loginWithHeader(token);
    await api.login(token);
    this.useToken(null);
    await this.identify();
  }

  private async loginWithHeader(token: string): Promise<void> {
    this.useToken(token);
    try {
      await this.identify();
    } catch (error) {
      this.useToken(null);
      throw error;
    }
  }

  async logout(): Promise<void> {
    try {
      await api.logout();
    } catch (error) {
      // On this machine there is no session to end.
      if (!(error instanceof ApiError && error.reason === 'unsupported')) {
        toasts.show(`You are still logged in. ${messageOf(error)}`, 'bad');
        return;
      }
    }
    this.useToken(null);
    this.state = 'out';
    this.isExpired = false;
  }

  useNamespace(namespace: string): void {
    this.namespace = namespace;
    write(localStorage, NAMESPACE_KEY, namespace);
  }

  private async enter(): Promise<void> {
    try {
      await this.identify();
    } catch (error) {
      const isUnknown = error instanceof ApiError && error.status === 401;
      this.state = isUnknown ? 'out' : 'failed';
      this.error = isUnknown ? '' : messageOf(error);
    }
  }

  /** What the list shows first: on its way while the session is. */
  private fetchList(): void {
    if (router.route.page !== 'list') return;
    const namespace = readLocal(NAMESPACE_KEY);
    const listed = namespace === null ? api.firstList() : api.list(namespace).then((items) => ({ namespace, items }));
    // A failure is told where the list is shown, which then asks for itself.
    this.firstList = listed.catch(() => null);
  }

  /** The list that was fetched at the start, once. */
  takeFirstList(): Promise<FirstList | null> {
    const list = this.firstList;
    this.firstList = Promise.resolve(null);
    return list;
  }

  private async identify(): Promise<void> {
    const meta = await api.meta();
    this.user = meta.user;
    this.loginBy = meta.login;
    this.provider = meta.provider ? { name: meta.provider, failure: null } : null;
    this.meta = meta;
    if (!this.namespace) this.namespace = initialNamespace(meta);
    this.isExpired = false;
    this.state = 'in';
    this.logins += 1;
    this.tabs.postMessage({ isIn: true });
  }

  private expire(): void {
    if (this.state === 'in') this.isExpired = true;
  }

  private useToken(token: string | null): void {
    this.token = token;
    setToken(token);
    // This tab's own storage, for a reload of it; the token dies with the process that printed it. After the
    // requests that it is needed for: the first access to a storage waits for another process.
    queueMicrotask(() => write(sessionStorage, TOKEN_KEY, token));
  }

  private askOtherTabs(): Promise<string | null> {
    return new Promise((resolve) => {
      const channel = new BroadcastChannel('kipper-session');
      const finish = (token: string | null): void => {
        channel.close();
        resolve(token);
      };
      const timer = setTimeout(() => finish(null), OTHER_TAB_MS);
      channel.onmessage = ({ data }: MessageEvent<{ token?: string }>) => {
        if (!data.token) return;
        clearTimeout(timer);
        finish(data.token);
      };
      channel.postMessage({ ask: true });
    });
  }
}

/** The token that `kip` printed behind the `#`; it does not stay in the address bar or the history. */
function takeTokenFromUrl(): string | null {
  const match = /^#(?:.*&)?token=([^&]+)/.exec(location.hash);
  if (!match?.[1]) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  return decodeURIComponent(match[1]);
}

function initialNamespace(meta: Meta): string {
  if (!meta.can.namespaces) return meta.namespace;
  return readLocal(NAMESPACE_KEY) ?? meta.namespace;
}

function readStored(key: string): string | null {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function readLocal(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(storage: Storage, key: string, value: string | null): void {
  try {
    if (value === null) storage.removeItem(key);
    else storage.setItem(key, value);
  } catch {
    // Without storage a reload asks for the token again.
  }
}

export const session = new Session();
