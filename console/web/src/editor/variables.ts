/** The names that a function finds in its environment; never their values. */
import type { Form } from '../state/form.svelte.ts';
import type { Variable } from './complete.ts';

export function variablesOf(form: Form): Variable[] {
  const bound = (form.draft.spec.serviceBindings ?? []).flatMap((binding) => {
    const kind = form.services.kindOf(binding);
    const origin = `from ${binding.name}${kind ? ` (${kind})` : ''}`;
    return (form.services.namesOf(binding) ?? []).map((name) => ({ name, origin }));
  });
  return [
    ...form.envNames.map((name) => ({ name, origin: 'environment variable' })),
    ...form.secretNames.map((name) => ({ name, origin: 'secret' })),
    ...bound,
  ];
}
