// What a function's conditions say, and what can be done about them. Pure.

import type { Condition, Status } from '../api/types.ts';
import type { SectionId } from './sections.ts';

export interface Advice {
  text: string;
  /** Where it can be done. */
  section?: SectionId;
}

export interface Trouble extends Condition {
  advice: Advice | null;
}

/** Conditions that are bad news when they are True; all others are when they are not. */
const BAD_WHEN_TRUE = new Set(['BurstUnavailable', 'NameTaken', 'EnvironmentClash']);

/** By reason first, because it is nearer to the cause. */
const BY_REASON: Record<string, Advice> = {
  HostTaken: { text: 'Another function or app has this host. Rename this one, or remove the other.' },
  HostInvalid: { text: 'Give it a shorter name, or one without characters that a host cannot have.' },
  ImagePullFailed: { text: 'Check the image’s name and tag, and the pull secrets.', section: 'code' },
  ContainerCrashed: { text: 'The last lines of its log say where it stopped.', section: 'logs' },
  ContainerNotStarted: { text: 'The log and the events below say what is missing.', section: 'logs' },
  OutOfMemory: { text: 'Raise the memory limit, or let it hold less at once.', section: 'resources' },
  Evicted: { text: 'It wrote more to /tmp than it may, or the node ran short. Raise the size of /tmp.', section: 'resources' },
  DeadlineExceeded: { text: 'The run took longer than the deadline of its schedule.', section: 'trigger' },
  EventsNotHandled: { text: 'Start kip dev again with what is missing.', section: 'trigger' },
  EventsFailing: { text: 'The log says why deliveries fail. Failed events are tried again.', section: 'logs' },
  RunsSkipped: { text: 'A run takes longer than the schedule’s interval. Fire less often, or set a deadline.', section: 'trigger' },
  RunFailed: { text: 'The log of the run says why.', section: 'logs' },
};

const BY_TYPE: Record<string, Advice> = {
  BindingsResolved: { text: 'Check that the service exists and is ready.', section: 'bindings' },
  TriggerValid: { text: 'Correct the trigger’s settings.', section: 'trigger' },
  ScalerReady: { text: 'KEDA has not taken it up. If that lasts, ask whoever runs the cluster.' },
  BurstUnavailable: { text: 'Sudden load gets its replicas late. Ask whoever runs the cluster.' },
  NameTaken: { text: 'An object of this name is somebody else’s. Rename the function, or remove that object.' },
  EnvironmentClash: { text: 'Give each variable one name: rename it, or set another prefix.', section: 'environment' },
  OnSchedule: { text: 'Runs do not start when they are due.', section: 'trigger' },
  LastRunSucceeded: { text: 'The log of the run says why it failed.', section: 'logs' },
};

const isTrouble = (condition: Condition): boolean =>
  BAD_WHEN_TRUE.has(condition.type) ? condition.status === 'True' : condition.status === 'False';

/** What is not as it should be. Ready only repeats one of the others, unless it is alone. */
export function troubles(status: Status | null | undefined): Trouble[] {
  const bad = (status?.conditions ?? []).filter(isTrouble);
  const causes = bad.filter((condition) => condition.type !== 'Ready');
  const ready = bad.find((condition) => condition.type === 'Ready');
  const isRepeated = ready && causes.some((cause) => cause.reason === ready.reason && cause.message === ready.message);
  const shown = ready && !isRepeated ? [ready, ...causes] : causes;
  return shown.map((condition) => ({ ...condition, advice: BY_REASON[condition.reason] ?? BY_TYPE[condition.type] ?? null }));
}

/** What is not decided yet, in words of the controller. */
export const pending = (status: Status | null | undefined): Condition[] =>
  (status?.conditions ?? []).filter((condition) => condition.status === 'Unknown');

/** What these say when they are True is no news. */
const EXPECTED = new Set(['Ready', 'HostReserved']);

/** Good news with something to tell: a notice about a trigger that works, events that were given up. */
export const remarks = (status: Status | null | undefined): Condition[] =>
  (status?.conditions ?? []).filter(
    ({ type, status: value, message }) => value === 'True' && message !== '' && !EXPECTED.has(type) && !BAD_WHEN_TRUE.has(type),
  );
