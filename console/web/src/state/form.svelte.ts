import { api, ApiError, messageOf } from '../api/client.ts';
import type { Base, Conflict, Detail, Meta, Problem, Saved, Spec } from '../api/types.ts';
import { Services } from './bindings.svelte.ts';
import { Claims } from './claims.svelte.ts';
import {
  draftOf,
  draftOfDetail,
  hasSecretChanges,
  localProblems,
  secretChanges,
  settledSecrets,
  specOf,
  type Draft,
} from './draft.ts';
import { draftKey, readDraft, removeDraft, restoredDraft, storedDraft, writeDraft } from './drafts.ts';
import { newRow } from './rows.ts';
import { SECTIONS, sectionOf, type SectionId } from './sections.ts';
import { starterSpec } from './starter.ts';
import { changes, isEqual, merge, pruned, setValueAt, valueAt, withValue, type Change, type Json } from './values.ts';

const CHECK_MS = 250;
const DRAFT_MS = 500;
/** A stream may still tell of what a save has just replaced. */
const LATE_MS = 3000;

/** How a save ended: where it did not, the form says why and has lost nothing. */
export type SaveResult = 'saved' | 'created' | 'unchanged' | 'partly' | 'refused' | 'conflict' | 'failed';

/** One function as it is edited: what was loaded, what was typed, what is wrong with it. */
export class Form {
  readonly services: Services;
  /** Null for a function that does not exist yet. */
  base = $state.raw<Base | null>(null);
  detail = $state.raw<Detail | null>(null);
  draft = $state<Draft>(draftOf('', {}, []));

  isLoaded = $state(false);
  loadError = $state('');
  isSaving = $state(false);
  saveError = $state('');
  savedAt = $state(0);
  lastSaved = $state.raw<Saved | null>(null);
  conflicts = $state.raw<Conflict[]>([]);
  /** The same function as somebody else has changed it meanwhile. */
  outside = $state.raw<Detail | null>(null);
  restored = $state(false);
  isDraftTooLarge = $state(false);
  warnings = $state.raw<string[]>([]);
  /** Set by the first try to save: until then an empty form is not called wrong. */
  isAttempted = $state(false);

  private checked = $state.raw<Problem[]>([]);
  private checkedSpec = $state.raw<Spec | null>(null);
  /** What the last save was refused for, until something is changed. */
  private refused = $state.raw<Problem[]>([]);
  /** Why a new function cannot be made here. */
  private createRefusal = $state<string | null>(null);
  private conflictWith: Detail | null = null;
  private readonly claims = new Claims();
  /** Generations that a save has replaced, and until when news of them is only late. They have no order. */
  private readonly replaced = new Map<number, number>();
  private checkAbort: AbortController | null = null;

  readonly spec: Spec = $derived(specOf($state.snapshot(this.draft) as Draft));
  readonly changes: Change[] = $derived(
    changes(pruned((this.base?.spec ?? {}) as Json), this.spec as Json),
  );
  readonly localProblems = $derived(localProblems(this.draft, this.isNew));
  readonly isDirty: boolean = $derived.by(() => {
    if (!this.isLoaded) return false;
    if (this.isNew) return this.draft.name !== '' || !isEqual(this.spec as Json, pruned(this.startSpec as Json));
    return this.changes.length > 0 || hasSecretChanges(this.draft.secrets) || this.localProblems.length > 0;
  });
  readonly problems: Problem[] = $derived.by(() => {
    const known = new Set(this.localProblems.flatMap((problem) => ('instead' in problem ? [problem.path, problem.instead] : [problem.path])));
    const said = new Set(this.checked.map((problem) => problem.path));
    const all = [
      ...this.localProblems,
      ...this.checked.filter((problem) => !known.has(problem.path)),
      ...this.refused.filter((problem) => !known.has(problem.path) && !said.has(problem.path)),
    ];
    return this.isNew && !this.isAttempted ? all.filter((problem) => !this.isUntouched(problem.path)) : all;
  });
  readonly dirtySections: Set<SectionId> = $derived.by(() => {
    const sections = new Set<SectionId>();
    if (this.isNew) return sections;
    const paths = [...this.changes.map((change) => change.path), ...this.localProblems.map(({ path }) => path)];
    if (hasSecretChanges(this.draft.secrets)) paths.push('secrets');
    for (const path of paths) {
      const section = sectionOf(path.replace('#', '.'));
      if (section) sections.add(section);
    }
    return sections;
  });

  private startSpec: Spec;

  constructor(
    readonly namespace: string,
    readonly name: string | null,
    readonly meta: Meta,
  ) {
    this.services = new Services(namespace);
    this.startSpec = starterSpec('node');
  }

  get isNew(): boolean {
    return this.name === null;
  }

  get isImage(): boolean {
    return this.draft.spec.image !== undefined;
  }

  get runtime(): 'node' | 'python' {
    return this.draft.spec.runtime === 'python' ? 'python' : 'node';
  }

  get readOnly(): string | null {
    return this.detail?.readOnly ?? this.createRefusal;
  }

  get envNames(): string[] {
    return this.draft.env.map((row) => row.name.trim()).filter(Boolean);
  }

  get secretNames(): string[] {
    return this.draft.secrets.filter((row) => row.action !== 'delete').map((row) => row.name.trim()).filter(Boolean);
  }

  get injectedNames(): string[] {
    return (this.draft.spec.serviceBindings ?? []).flatMap((binding) => this.services.namesOf(binding) ?? []);
  }

  // Loading

  async load(): Promise<void> {
    this.loadError = '';
    if (this.name === null) return this.start();
    try {
      const detail = await api.get(this.namespace, this.name);
      this.setBase(detail);
      this.draft = draftOfDetail(detail);
      this.isLoaded = true;
      this.restore(detail);
    } catch (error) {
      this.loadError = messageOf(error);
    }
  }

  private start(): void {
    this.draft = draftOf('', this.startSpec, []);
    this.isLoaded = true;
    this.restore(null);
    // Without an answer, the save will tell.
    void api.createRefusal(this.namespace).then((why) => (this.createRefusal = why), () => {});
  }

  private restore(detail: Detail | null): void {
    const stored = readDraft(draftKey(this.namespace, this.name));
    if (!stored) return;
    const secrets = detail?.secrets.map((secret) => secret.name) ?? [];
    this.draft = restoredDraft(stored, { env: detail?.spec.env, secrets });
    // The base is the one that was edited, so that what others changed since is merged and not undone.
    if (detail && stored.base) {
      this.base = { generation: stored.base.generation, spec: { ...stored.base.spec, env: detail.spec.env } };
      if (stored.base.generation !== detail.generation) this.takeOutside(detail);
    }
    this.restored = this.isDirty || this.isNew;
  }

  private setBase(detail: Detail): void {
    this.detail = detail;
    this.base = { generation: detail.generation, spec: detail.spec };
    this.outside = null;
  }

  /** News from the stream. A form that nobody has touched follows; one that was edited only says so. */
  takeLive(detail: Detail): void {
    if (!this.isLoaded || !this.base || this.isSaving) return;
    if (Date.now() < (this.replaced.get(detail.generation) ?? 0)) return;
    this.takeOutside(detail);
  }

  private takeOutside(detail: Detail): void {
    const former = pruned((this.base?.spec ?? {}) as Json);
    if (!this.isDirty || isEqual(former, pruned(detail.spec as Json))) this.adopt(detail, former as Spec);
    else {
      this.detail = detail;
      this.outside = detail;
    }
  }

  /** Goes on from `detail`; what was typed since `sent` stays. */
  private adopt(detail: Detail, sent: Spec): void {
    const mine = this.spec;
    const next = merge(sent as Json, mine as Json, pruned(detail.spec as Json)) as Spec;
    this.setBase(detail);
    if (!isEqual(next as Json, mine as Json) || this.isSecretListNew(detail)) {
      // The code of a function that is an image now stays at hand, as in `specOf`.
      this.draft = draftOf(detail.name, next, detail.secrets, $state.snapshot(this.draft) as Draft);
    }
  }

  private isSecretListNew(detail: Detail): boolean {
    const stored = this.draft.secrets.filter((row) => row.stored).map((row) => row.name).sort();
    return stored.join('\n') !== detail.secrets.map((secret) => secret.name).sort().join('\n');
  }

  // Fields

  get(path: string): unknown {
    return valueAt(this.draft.spec, path);
  }

  /** Sets one field; `undefined` and an empty text leave it out. */
  set(path: string, value: Json): void {
    setValueAt(this.draft.spec, path, value);
  }

  /** A text in a field for a number: what is none stays in its field, and in the way of a save. */
  setNumber(path: string, text: string): void {
    const value = Number(text.trim());
    if (text.trim() !== '' && !Number.isFinite(value)) {
      this.draft.unread[path] = text;
      return;
    }
    delete this.draft.unread[path];
    this.set(path, text.trim() === '' ? undefined : value);
  }

  addEnv(pairs: { name: string; value: string }[] = [{ name: '', value: '' }]): void {
    for (const { name, value } of pairs) {
      const row = this.draft.env.find((candidate) => candidate.name === name && name !== '');
      if (row) Object.assign(row, { value, lost: false });
      else this.draft.env.push(newRow(name, value));
    }
  }

  /** Adds rows for packages that are not there yet; returns how many. */
  addDependencies(packages: { name: string; value?: string }[]): number {
    const known = new Set(this.draft.dependencies.map((row) => row.name.trim()));
    const fresh = packages.filter(({ name }) => !known.has(name));
    for (const { name, value } of fresh) this.draft.dependencies.push(newRow(name, value ?? ''));
    return fresh.length;
  }

  // Problems

  problemsAt(path: string): string[] {
    return this.problems.filter((problem) => problem.path === path).map((problem) => problem.message);
  }

  /** A field says that it shows the problems of `path`; the rest are shown by the section. To be called in an effect. */
  claim(path: string): () => void {
    return this.claims.add(path);
  }

  problemsIn(section: SectionId | null): Problem[] {
    return this.problems.filter((problem) => sectionOf(problem.path.replace('#', '.')) === section);
  }

  unclaimedIn(section: SectionId | null): Problem[] {
    return this.problemsIn(section).filter((problem) => !this.claims.has(problem.path));
  }

  get firstProblemSection(): SectionId | null {
    return SECTIONS.find(({ id }) => this.problemsIn(id).length > 0)?.id ?? null;
  }

  /** True where a save could only be refused for what is typed here; a problem elsewhere may be older than the page. */
  private get hasTypedProblems(): boolean {
    if (this.checkedSpec !== this.spec) return false;
    const isTyped = ({ path }: Problem): boolean =>
      this.isNew || this.changes.some((change) => change.path.startsWith(path) || path.startsWith(change.path));
    return this.checked.some(isTyped);
  }

  private isUntouched(path: string): boolean {
    return path === 'metadata.name' ? this.draft.name === '' : path === 'spec.image' && !this.draft.spec.image;
  }

  /** Asks the server for every rule, a moment after the last change. To be called in an effect. */
  watchProblems(): () => void {
    const body = { namespace: this.namespace, name: this.name ?? this.draft.name, spec: this.spec, isNew: this.isNew };
    this.refused = [];
    // Rules about the host need the name; without one the server judges nothing.
    if (!this.isLoaded || body.name.trim() === '') return () => {};
    const timer = setTimeout(() => void this.check(body), CHECK_MS);
    return () => clearTimeout(timer);
  }

  private async check(body: Parameters<typeof api.check>[0]): Promise<void> {
    this.checkAbort?.abort();
    const abort = new AbortController();
    this.checkAbort = abort;
    try {
      const { problems, warnings } = await api.check(body, abort.signal);
      if (this.checkAbort !== abort) return;
      this.checked = problems;
      this.checkedSpec = body.spec;
      this.warnings = warnings;
    } catch {
      // The save asks again and says what it is told.
    }
  }

  // Drafts

  /** Keeps what is typed in the browser, a moment after the last change. To be called in an effect. */
  watchDraft(): () => void {
    const key = draftKey(this.namespace, this.name);
    if (!this.isLoaded || this.isSaving) return () => {};
    if (!this.isDirty) {
      removeDraft(key);
      return () => {};
    }
    const stored = storedDraft($state.snapshot(this.draft) as Draft, this.base, Date.now());
    const write = (): void => {
      this.isDraftTooLarge = !writeDraft(key, stored);
    };
    const timer = setTimeout(write, DRAFT_MS);
    window.addEventListener('pagehide', write);
    return () => {
      clearTimeout(timer);
      window.removeEventListener('pagehide', write);
    };
  }

  /** Back to what is stored. Returns what brings the changes back. */
  discard(): () => void {
    const former = { draft: $state.snapshot(this.draft) as Draft, base: this.base };
    removeDraft(draftKey(this.namespace, this.name));
    this.restored = false;
    this.isAttempted = false;
    this.saveError = '';
    if (this.isNew) this.draft = draftOf('', this.startSpec, []);
    else if (this.detail) {
      this.setBase(this.detail);
      this.draft = draftOfDetail(this.detail);
    }
    return () => {
      Object.assign(this, former);
      if (this.detail && this.detail.generation !== former.base?.generation) this.takeOutside(this.detail);
    };
  }

  // Saving

  async save(): Promise<SaveResult> {
    if (this.isSaving || !this.isLoaded) return 'refused';
    this.isAttempted = true;
    this.saveError = '';
    if (this.localProblems.length > 0 || this.hasTypedProblems) return 'refused';
    this.isSaving = true;
    try {
      return await (this.name === null ? this.create() : this.update(this.name));
    } catch (error) {
      return this.fail(error);
    } finally {
      this.isSaving = false;
    }
  }

  private async create(): Promise<SaveResult> {
    const name = this.draft.name.trim();
    this.lastSaved = await api.create(this.namespace, name, this.spec, secretChanges(this.draft.secrets).set);
    removeDraft(draftKey(this.namespace, null));
    this.draft.name = name;
    return 'created';
  }

  private async update(name: string): Promise<SaveResult> {
    const sent = this.spec;
    const secrets = secretChanges($state.snapshot(this.draft.secrets));
    if (!this.base) return 'failed';
    const saved = await api.save(this.namespace, name, sent, secrets, this.base);
    this.lastSaved = saved;
    this.savedAt = Date.now();
    if (!saved.failed) this.draft.secrets = settledSecrets(this.draft.secrets, secrets);
    this.replaced.set(this.base.generation, Date.now() + LATE_MS);
    this.replaced.delete(saved.function.generation);
    this.adopt(saved.function, sent);
    this.restored = false;
    this.checked = [];
    if (saved.failed) {
      this.saveError = `Saved in part: ${saved.failed.step} failed. ${saved.failed.error}`;
      return 'partly';
    }
    return saved.outcome === 'unchanged' ? 'unchanged' : 'saved';
  }

  /** Throws what went wrong, for the dialog that asked. */
  async rollBack(revision: number): Promise<void> {
    if (this.name === null) return;
    const former = pruned((this.base?.spec ?? {}) as Json) as Spec;
    const saved = await api.rollback(this.namespace, this.name, revision);
    this.adopt(saved.function, former);
  }

  private fail(error: unknown): SaveResult {
    if (!(error instanceof ApiError)) {
      this.saveError = messageOf(error);
      return 'failed';
    }
    if (error.reason === 'conflict' && error.current) {
      this.conflictWith = error.current;
      this.conflicts = error.conflicts;
      return 'conflict';
    }
    if (error.reason === 'exists') {
      this.refused = [{ path: 'metadata.name', message: 'There is a function with this name already.' }];
      return 'refused';
    }
    this.refused = error.problems;
    this.saveError = error.problems.length > 0 ? '' : error.message;
    if (error.written.length > 0) this.saveError = `${error.message} Stored already: ${error.written.join(', ')}.`;
    return error.problems.length > 0 ? 'refused' : 'failed';
  }

  /** Goes on from what is stored now; `theirs` names the conflicts in which that is what should stay. */
  resolveConflicts(theirs: Set<string>): void {
    const current = this.conflictWith;
    if (!current || !this.base) return;
    let next = merge(pruned(this.base.spec as Json), this.spec as Json, pruned(current.spec as Json));
    for (const { path, theirs: value } of this.conflicts.filter((conflict) => theirs.has(conflict.path))) {
      next = withValue(next, path, (value ?? undefined) as Json);
    }
    this.draft = draftOf(current.name, next as Spec, current.secrets, $state.snapshot(this.draft) as Draft);
    this.setBase(current);
    this.dropConflicts();
  }

  dropConflicts(): void {
    this.conflicts = [];
    this.conflictWith = null;
  }
}
