// Which of a function's triggers the form shows, and what choosing another one does. Pure.

import type { Trigger, TriggerKind } from '../api/types.ts';

const isEvent = (kind: TriggerKind): boolean => kind !== 'http' && kind !== 'cron';
const classOf = (kind: TriggerKind): string => (isEvent(kind) ? 'event' : kind);

/** What the function is mainly for: an event before a schedule before HTTP, which none at all means too. */
export function mainTrigger(triggers: readonly Trigger[]): TriggerKind {
  const kinds = triggers.map((trigger) => trigger.type);
  return kinds.find(isEvent) ?? kinds.find((kind) => kind === 'cron') ?? 'http';
}

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

export function describeTrigger(trigger: Trigger): string {
  if (trigger.type === 'http') return 'HTTP requests';
  if (trigger.type === 'cron') return `the schedule ${trigger.schedule ?? ''}`.trim();
  return `${trigger.type} events of ${trigger.config?.['source'] ?? 'a service'}`;
}
