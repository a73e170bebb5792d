/** What the assistant is told of a function: its code, and names. No type here has a place for a value. */
import type { AssistantDraft } from '../api/types.ts';
import { declaredIn, filesOf } from '../editor/files.ts';
import type { Form } from '../state/form.svelte.ts';

/** The names of the variables that bindings inject come from the server; this asks for those that are not known yet. */
export function askForNames(form: Form): void {
  if (!form.meta.can.services) return;
  form.services.list.ensure();
  for (const { name, prefix } of form.draft.spec.serviceBindings ?? []) void form.services.ask({ name, ...(prefix ? { prefix } : {}) });
}

/** The same without the texts: what Kipper knows of a function is names. */
export function namesOf(form: Form): AssistantDraft {
  const knowledge = knowledgeOf(form);
  return { ...knowledge, code: Object.fromEntries(Object.keys(knowledge.code).map((path) => [path, ''])) };
}

export function knowledgeOf(form: Form): AssistantDraft {
  const { spec, dependencies } = form.draft;
  const code = filesOf(spec.source, form.runtime);
  // A manifest among the files is sent with them, and says itself what is installed.
  // Without a version a package cannot be installed, so it is none yet.
  const rows = declaredIn(code, form.runtime) ? [] : dependencies.filter(({ name, value }) => name.trim() !== '' && value.trim() !== '');
  return {
    runtime: form.runtime,
    code: { ...code },
    bindings: (spec.serviceBindings ?? []).flatMap((binding) => {
      const kind = form.services.kindOf(binding);
      return kind === null ? [] : [{ service: binding.name, kind, env: [...(form.services.namesOf(binding) ?? [])] }];
    }),
    envNames: form.envNames,
    secretNames: form.secretNames,
    dependencies: Object.fromEntries(rows.map(({ name, value }) => [name.trim(), value.trim()])),
  };
}
