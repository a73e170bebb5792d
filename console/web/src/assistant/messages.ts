/** A conversation: what is kept of it, and what is sent of it. Pure. */
import type { Ask, AssistantEvent, Usage } from '../api/types.ts';
import { MAX_FILES, MAX_TOTAL_BYTES, type Attachment } from './attachments.ts';

export interface Failure {
  code: string;
  message: string;
  retryable: boolean;
}

export interface Message {
  role: 'user' | 'assistant';
  text: string;
  attachments: Attachment[];
  /** How an answer stands. `open` is one on its way; in a conversation from before, one that nobody waits for any more. */
  state: 'open' | 'done' | 'stopped' | 'failed';
  stop: 'end' | 'length' | 'refused' | null;
  failure: Failure | null;
  usage: Usage | null;
}

export const userMessage = (text: string, attachments: Attachment[]): Message => ({
  role: 'user', text, attachments, state: 'done', stop: null, failure: null, usage: null,
});

export const openAnswer = (): Message => ({
  role: 'assistant', text: '', attachments: [], state: 'open', stop: null, failure: null, usage: null,
});

/** What an answer becomes by an event; `delta` is added by whoever collects them. */
export function ended(answer: Message, event: AssistantEvent): Partial<Message> {
  if (event.type === 'done') return { state: 'done', stop: event.stop, usage: event.usage };
  if (event.type === 'error') {
    const { code, message, retryable } = event;
    return { state: 'failed', failure: { code, message, retryable } };
  }
  return answer;
}

/** Only what is complete may replace code: an answer that was cut off may lack its end anywhere. */
export const isApplicable = (answer: Message): boolean => answer.state === 'done' || answer.state === 'stopped';

/** The messages as they are sent, the first and the last of them the user's. An answer that never came has no place among them. */
export function sentMessages(messages: readonly Message[]): Ask['messages'] {
  const said = messages.filter(({ role, text }) => role === 'user' || text !== '');
  return said.slice(Math.max(0, said.findIndex(({ role }) => role === 'user'))).map(({ role, text }) => ({ role, text }));
}

/** The files of the last message, and of those before it as many as may be sent: a second question is often about the same ones. */
export function sentAttachments(messages: readonly Message[]): Ask['attachments'] {
  const sent: Ask['attachments'] = [];
  let bytes = 0;
  for (const { name, size, text } of messages.flatMap(({ attachments }) => attachments).reverse()) {
    if (text === null || sent.length === MAX_FILES || bytes + size > MAX_TOTAL_BYTES) continue;
    sent.unshift({ name, text });
    bytes += size;
  }
  return sent;
}

/** How an answer ended, in words; empty where there is nothing to add. */
export function endWords({ state, stop, failure }: Message): string {
  if (state === 'stopped') return 'You stopped this answer.';
  if (state === 'open') return 'This answer was not finished when the page was left.';
  if (failure) return failure.message;
  if (stop === 'length') return 'The answer is incomplete: the model reached its longest output. Ask it to go on, or for less at once.';
  if (stop === 'refused') return 'The model refused to answer this. Ask in another way.';
  return '';
}
