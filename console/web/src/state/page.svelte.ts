import { tick } from 'svelte';
import { api, messageOf } from '../api/client.ts';
import { SvelteSet } from 'svelte/reactivity';
import type { Form } from './form.svelte.ts';
import type { Live } from './live.svelte.ts';
import { router } from './route.svelte.ts';
import { SECTIONS, type SectionId } from './sections.ts';
import { toasts } from './toasts.svelte.ts';

const isSection = (id: string): id is SectionId => SECTIONS.some((section) => section.id === id);

const OPEN_AT_FIRST: SectionId[] = ['code', 'trigger', 'bindings', 'environment', 'secrets', 'dependencies'];

const LOADING_MS = 5000;
/** How long the other sections wait for the editor at most. */
const EDITOR_MS = 2000;

/** A section's parts may still be on their way. */
async function loaded(section: HTMLElement): Promise<void> {
  const end = Date.now() + LOADING_MS;
  while (section.querySelector('[aria-busy="true"]') && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The form's page: which sections are open, and how one is brought into view. */
export class Page {
  readonly open = new SvelteSet<SectionId>(OPEN_AT_FIRST);
  /** Grows when the logs have something to show that nobody has typed a search for: a test run. */
  logsAsked = $state(0);
  isAssistantOpen = $state(false);
  /** What else is to be done when a new function has been created. */
  onCreated: () => void = () => {};
  /** Resolved when the editor is there: what stands below it is fetched after it. */
  readonly editorReady: Promise<void>;
  editorIsReady: () => void = () => {};

  constructor(
    readonly form: Form,
    /** Null for a function that does not exist yet. */
    readonly live: Live | null,
  ) {
    this.editorReady = new Promise((resolve) => {
      this.editorIsReady = resolve;
      setTimeout(resolve, EDITOR_MS);
    });
  }

  toggle(id: SectionId): void {
    if (this.open.has(id)) this.open.delete(id);
    else {
      this.open.add(id);
      router.showSection(id);
    }
  }

  /** Opens a section, scrolls to it and gives the focus to what fits `wanted`, or to its heading. */
  async reveal(id: SectionId, withFocus = true, wanted = '[aria-invalid="true"]'): Promise<void> {
    this.open.add(id);
    router.showSection(id);
    await tick();
    const section = document.getElementById(id);
    section?.scrollIntoView({ block: 'start' });
    if (!withFocus || !section) return;
    await loaded(section);
    const found = section.querySelector<HTMLElement>(wanted);
    (found ?? document.getElementById(`${id}-button`))?.focus();
  }

  revealHash(hash: string): void {
    if (isSection(hash)) void this.reveal(hash);
  }

  async revealProblems(): Promise<void> {
    const section = this.form.firstProblemSection;
    if (section) await this.reveal(section);
    else document.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }

  /** One click is easily a wrong one: for a while it can be taken back. */
  discard(): void {
    toasts.show('Discarded the changes.', 'good', { label: 'Undo', run: this.form.discard() });
  }

  /** Replaces what serves the function, as it is deployed. */
  async restart(): Promise<void> {
    const { namespace, name } = this.form;
    if (name === null) return;
    try {
      const { restarted, why } = await api.restart(namespace, name);
      toasts.show(restarted ? `Restarting ${name}.` : `${name} ${why}: there is nothing to restart.`);
    } catch (error) {
      toasts.show(`Not restarted: ${messageOf(error)}`, 'bad');
    }
  }

  showLogs(): void {
    this.logsAsked += 1;
    void this.reveal('logs', false);
  }
}
