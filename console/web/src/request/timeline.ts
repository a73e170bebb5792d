/** Where a cold start spent its time, as bars on one axis. Pure. */
import type { Invoked } from '../api/types.ts';

type Phase = Invoked['phases'][number];

export interface Bar {
  name: string;
  title: string;
  help: string;
  start: number;
  milliseconds: number;
}

const TITLES: Record<string, [title: string, help: string]> = {
  queue: ['Queued', 'The interceptor held the request; waking and getting ready are part of it.'],
  wake: ['Waking', 'Until the first pod had an address.'],
  ready: ['Getting ready', 'From there until a pod could answer.'],
  connect: ['Connecting', 'Opening the connection to the pod.'],
  ttfb: ['Answering', 'From sending the request to the first byte of the response.'],
};

/**
 * The phases one after the other. `wake` and `ready` happen while the request is queued, so they start where it does;
 * `connect` and `ttfb` follow. Phases that nobody knows here come last.
 */
export function barsOf(phases: readonly Phase[]): Bar[] {
  const queue = lengthOf(phases, 'queue');
  const starts: Record<string, number> = { queue: 0, wake: 0, ready: lengthOf(phases, 'wake'), connect: queue };
  let next = queue + lengthOf(phases, 'connect');
  starts['ttfb'] = next;
  next += lengthOf(phases, 'ttfb');
  return phases.map(({ name, milliseconds }) => {
    const [title, help] = TITLES[name] ?? [name, ''];
    const start = starts[name] ?? next;
    if (!(name in starts)) next += milliseconds;
    return { name, title, help, start, milliseconds };
  });
}

function lengthOf(phases: readonly Phase[], name: string): number {
  return phases.find((phase) => phase.name === name)?.milliseconds ?? 0;
}

/** The end of the axis; never 0, so that one may divide by it. */
export function extentOf(bars: readonly Bar[], milliseconds: number): number {
  return Math.max(1, milliseconds, ...bars.map((bar) => bar.start + bar.milliseconds));
}

export function inWords(milliseconds: number): string {
  if (milliseconds >= 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return milliseconds >= 10 ? `${Math.round(milliseconds)} ms` : `${milliseconds.toFixed(1)} ms`;
}
