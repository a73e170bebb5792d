/** One question to the assistant and the events of its answer. */
import { messageOf, ApiError, send } from '../api/client.ts';
import { lines, parseEvent, SILENCE_MS } from '../api/stream.ts';
import type { AssistantEvent, Ask } from '../api/types.ts';

/**
 * Reads an answer to its end. What goes wrong on the way is an event as well, so that whoever asks has one place for it;
 * an answer without `done` or `error` was cut off. Only `signal` ends it without a last event.
 */
export async function* ask(question: Ask, signal: AbortSignal): AsyncGenerator<AssistantEvent> {
  const silence = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  try {
    heard();
    const response = await send('POST', '/assistant', question, AbortSignal.any([signal, silence.signal]));
    for await (const line of lines(response)) {
      heard();
      const event = parseAnswer(line);
      if (event === null) continue;
      yield event;
      if (event.type === 'done' || event.type === 'error') return;
    }
    if (!signal.aborted) yield CUT_OFF;
  } catch (error) {
    if (!signal.aborted) yield failureOf(error);
  } finally {
    clearTimeout(timer);
  }
}

const CUT_OFF: AssistantEvent = {
  type: 'error',
  code: 'cut_off',
  message: 'The answer was cut off: the connection ended before it was complete.',
  retryable: true,
};

function failureOf(error: unknown): AssistantEvent {
  // A stream that breaks while it is read, or was silent for too long.
  if (!(error instanceof ApiError)) return CUT_OFF;
  return {
    type: 'error',
    code: error.reason,
    message: [messageOf(error), ...error.problems.map(({ path, message }) => `${path}: ${message}`)].join(' '),
    retryable: error.status !== 400 && error.status !== 413,
  };
}

/** Null for a keep-alive, and for a word of a later version. */
export const parseAnswer = (line: string): AssistantEvent | null => parseEvent<AssistantEvent>(line);
