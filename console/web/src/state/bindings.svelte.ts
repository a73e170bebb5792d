import { api } from '../api/client.ts';
import type { ServiceBinding } from '../api/types.ts';
import { Load } from './load.svelte.ts';

/** The services of a namespace, and the names of variables that binding one injects. */
export class Services {
  readonly list: Load<Awaited<ReturnType<typeof api.services>>>;
  private readonly names = $state<Record<string, string[]>>({});
  private readonly asked = new Set<string>();

  constructor(namespace: string) {
    this.list = new Load(() => api.services(namespace));
  }

  kindOf(binding: ServiceBinding): string | null {
    return this.list.value?.find((service) => service.name === binding.name)?.kind ?? null;
  }

  /** Null until they are known. */
  namesOf(binding: ServiceBinding): string[] | null {
    const kind = this.kindOf(binding);
    return kind ? (this.names[keyOf(kind, binding)] ?? null) : null;
  }

  async ask(binding: ServiceBinding): Promise<void> {
    const kind = this.kindOf(binding);
    if (!kind) return;
    const key = keyOf(kind, binding);
    if (this.asked.has(key)) return;
    this.asked.add(key);
    try {
      this.names[key] = await api.injectedNames(kind, binding.prefix || null);
    } catch {
      // A prefix that is being typed may be refused; the check says so at its field.
      this.asked.delete(key);
    }
  }
}

const keyOf = (kind: string, binding: ServiceBinding): string => `${kind} ${binding.prefix ?? ''}`;
