/** What the assistant may do with the editor beside it; nothing of it without a click. */
import { declaredIn, filesOf } from '../editor/files.ts';
import type { Form } from '../state/form.svelte.ts';
import { patiently } from '../api/patiently.ts';

export interface Workbench {
  readonly form: Form;
  /** Files that code may be for: the one that is shown, then the handler's. */
  paths(): string[];
  textOf(path: string): string;
  /** Replaces a file, as one step that can be undone, and gives the editor the focus. */
  write(path: string, text: string): void;
  addPackage(name: string): void;
}

/** The packages that code for `path` imports and the form's table has no row for. No button edits a manifest. */
export async function missingPackages(form: Form, path: string, text: string): Promise<string[]> {
  const files = { ...filesOf(form.draft.spec.source, form.runtime) };
  if (declaredIn(files, form.runtime)) return [];
  const { runtime } = form;
  const installed = form.draft.dependencies.map((row) => row.name.trim());
  // The parsers are a chunk of their own, which may not be loaded yet.
  const [{ missing }, { importsOf }] = await patiently(() => Promise.all([import('../editor/scan.ts'), import('../editor/imports.ts')]));
  const found = missing(runtime, await importsOf(path, text), files, installed);
  return [...new Set(found.map(({ name }) => name))];
}
