// Which of a function's triggers the form shows, and what choosing another one does. Pure.

import type { Trigger, TriggerKind } from '../api/types.ts';

const isEvent = (kind: TriggerKind): boolean => kind !== 'http' && kind !== 'cron';
const classOf = (kind: TriggerKind): string => (isEvent(kind) ? 'event' : kind);

/** What the function is mainly for: an event before a schedule before HTTP, which none at all means too. */
export function mainTrigger(triggers: readonly Trigger[]): TriggerKind {
  const kinds = triggers.map((trigger) => trigger.type);
  return kinds.find(isEvent) ?? kinds.find((kind) => kind === 'cron') ?? 'http';
}

/** Does a function with these get requests? None at all means HTTP. */
export const takesRequests = (triggers: readonly Trigger[]): boolean =>
  triggers.length === 0 || triggers.some((trigger) => trigger.type === 'http');

/**
 * The triggers once `wanted` takes the place of `shown`. A function has at most one trigger of each
 * class, so an event trigger replaces another one even where that is not the one shown.
 */
export function withTrigger(triggers: readonly Trigger[], shown: TriggerKind, wanted: Trigger): Trigger[] {
  if (triggers.some((trigger) => trigger.type === wanted.type)) return [...triggers];
  const sameClass = triggers.findIndex((trigger) => classOf(trigger.type) === classOf(wanted.type));
  const at = sameClass >= 0 ? sameClass : triggers.findIndex((trigger) => trigger.type === shown);
  if (at < 0) return [...triggers, wanted];
  return triggers.map((trigger, other) => (other === at ? wanted : trigger));
}

/** The triggers once `added` invokes the function as well. That none at all means HTTP is said then. */
export const withAnother = (triggers: readonly Trigger[], added: Trigger): Trigger[] => [
  ...(triggers.length > 0 ? triggers : [{ type: 'http' } satisfies Trigger]),
  added,
];

/** The kinds of which a function with these triggers can have one more. */
export function addable(triggers: readonly Trigger[], kinds: readonly TriggerKind[]): TriggerKind[] {
  const taken = new Set((triggers.length > 0 ? triggers.map(({ type }) => type) : ['http' as const]).map(classOf));
  return kinds.filter((kind) => !taken.has(classOf(kind)));
}

export function describeTrigger(trigger: Trigger): string {
  if (trigger.type === 'http') return 'HTTP requests';
  if (trigger.type === 'cron') return `the schedule ${trigger.schedule ?? ''}`.trim();
  return `${trigger.type} events of ${trigger.config?.['source'] ?? 'a service'}`;
}
