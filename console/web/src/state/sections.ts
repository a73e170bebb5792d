// The sections of the form: their order, and which fields of a Function belong to which. Pure.

export type SectionId =
  | 'status'
  | 'code'
  | 'trigger'
  | 'bindings'
  | 'environment'
  | 'secrets'
  | 'dependencies'
  | 'volumes'
  | 'resources'
  | 'settings'
  | 'revisions'
  | 'request'
  | 'logs';

export const SECTIONS: { id: SectionId; title: string }[] = [
  { id: 'status', title: 'Status' },
  { id: 'code', title: 'Code' },
  { id: 'trigger', title: 'Trigger' },
  { id: 'bindings', title: 'Service bindings' },
  { id: 'environment', title: 'Environment variables' },
  { id: 'secrets', title: 'Secrets' },
  { id: 'dependencies', title: 'Dependencies' },
  { id: 'volumes', title: 'Volumes' },
  { id: 'resources', title: 'Resources' },
  { id: 'settings', title: 'Settings' },
  { id: 'revisions', title: 'Revisions' },
  { id: 'request', title: 'Send a request' },
  { id: 'logs', title: 'Logs' },
];

/** The longest of these that a path starts with decides. */
const OWNERS: [prefix: string, section: SectionId][] = [
  ['spec.source', 'code'],
  ['spec.source.handler', 'settings'],
  ['spec.source.dependencies', 'dependencies'],
  ['spec.source.npmrc', 'dependencies'],
  ['spec.runtime', 'code'],
  ['spec.image', 'code'],
  ['spec.imagePullSecrets', 'code'],
  ['spec.triggers', 'trigger'],
  ['spec.serviceBindings', 'bindings'],
  ['spec.env', 'environment'],
  ['secrets', 'secrets'],
  ['spec.volumes', 'volumes'],
  ['spec.noTmp', 'volumes'],
  ['spec.resources', 'resources'],
  ['spec', 'settings'],
];

function startsWith(path: string, prefix: string): boolean {
  return path === prefix || (path.startsWith(prefix) && /[.[]/.test(path.charAt(prefix.length)));
}

/** The section that shows the field at `path`; null for what belongs to none, such as the name. */
export function sectionOf(path: string): SectionId | null {
  let longest: [string, SectionId] | null = null;
  for (const owner of OWNERS) {
    if (startsWith(path, owner[0]) && owner[0].length > (longest?.[0].length ?? 0)) longest = owner;
  }
  return longest?.[1] ?? null;
}
