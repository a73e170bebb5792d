import { api, ApiError, messageOf } from '../api/client.ts';
import type { Ask, AssistantDraft, Knows } from '../api/types.ts';
import { ask } from './ask.ts';
import { take, type Attachment, type Refused } from './attachments.ts';
import { historyKey, readHistory, removeHistory, writeHistory, type Owner } from './history.ts';
import { ended, endWords, openAnswer, sentAttachments, sentMessages, userMessage, type Message } from './messages.ts';

/** Words that arrive within this are shown together: a reader sees no difference, and the page has less to do. */
const FLUSH_MS = 60;

/** The conversation about one function: what was said, and what is being typed. */
export class Chat {
  messages = $state<Message[]>([]);
  input = $state('');
  attachments = $state<Attachment[]>([]);
  refused = $state.raw<Refused[]>([]);
  /** What the model is told of the function, as the server makes it. */
  knows = $state.raw<Knows | null>(null);
  knowsError = $state('');
  isAnswering = $state(false);
  /** Told once for each answer: a screen reader that is told every word as it comes says none. */
  news = $state('');

  private attaching: Promise<void> = Promise.resolve();
  private abort: AbortController | null = null;
  private knowsAbort: AbortController | null = null;
  private key: string;

  constructor(
    owner: Owner,
    private readonly knowledge: () => AssistantDraft,
  ) {
    this.key = historyKey(owner);
    this.messages = readHistory(this.key);
  }

  get canSend(): boolean {
    return !this.isAnswering && this.input.trim() !== '';
  }

  /** One lot after the other: each is judged with what is attached by then. */
  attach(files: readonly File[]): Promise<void> {
    this.attaching = this.attaching.then(async () => {
      const { taken, refused } = await take(files, this.attachments);
      this.attachments.push(...taken);
      this.refused = refused;
    });
    return this.attaching;
  }

  detach(at: number): void {
    this.attachments.splice(at, 1);
    this.refused = [];
  }

  async send(): Promise<void> {
    if (!this.canSend) return;
    this.messages.push(userMessage(this.input.trim(), $state.snapshot(this.attachments)));
    this.input = '';
    this.attachments = [];
    this.refused = [];
    await this.answer();
  }

  /** Asks the last question again, for another answer than the one that is there. */
  async retry(): Promise<void> {
    if (this.isAnswering) return;
    if (this.messages.at(-1)?.role === 'assistant') this.messages.pop();
    if (this.messages.length > 0) await this.answer();
  }

  stop(): void {
    this.abort?.abort();
  }

  /** Forgets the conversation; returns what brings it back. */
  clear(): () => void {
    this.stop();
    const former = this.messages;
    this.messages = [];
    removeHistory(this.key);
    return () => {
      this.messages = [...former, ...this.messages];
      this.keep();
    };
  }

  /** A function that was new has a name now. */
  moveTo(owner: Owner): void {
    removeHistory(this.key);
    this.key = historyKey(owner);
    this.keep();
  }

  private question(messages: Message[]): Ask {
    return { messages: sentMessages(messages), draft: this.knowledge(), attachments: sentAttachments(messages) };
  }

  /** What a click on Send would send. */
  get draftQuestion(): Ask {
    const isEmpty = this.input.trim() === '' && this.attachments.length === 0;
    const typed = isEmpty ? [] : [userMessage(this.input.trim(), this.attachments)];
    return this.question([...this.messages, ...typed]);
  }

  private async answer(): Promise<void> {
    const abort = new AbortController();
    const question = this.question($state.snapshot(this.messages));
    this.messages.push(openAnswer());
    const answer = this.messages.at(-1) as Message;
    const pace = new Pace((text) => (answer.text += text));
    this.abort = abort;
    this.isAnswering = true;
    this.news = 'The assistant is answering.';
    this.keep();
    try {
      for await (const event of ask(question, abort.signal)) {
        if (event.type === 'delta') pace.add(event.text);
        else if (event.type === 'knows') this.knows = event.knows;
        else Object.assign(answer, ended(answer, event));
      }
    } finally {
      pace.flush();
      if (answer.state === 'open') answer.state = 'stopped';
      this.isAnswering = false;
      this.news = `The answer has ended. ${endWords(answer)}`;
      this.abort = null;
      // A conversation that was forgotten meanwhile stays so.
      if (this.messages.includes(answer)) this.keep();
    }
  }

  private keep(): void {
    writeHistory(this.key, $state.snapshot(this.messages), Date.now());
  }

  /** Asks what the model would be told. */
  async askKnows(draft: AssistantDraft): Promise<void> {
    this.knowsAbort?.abort();
    const abort = new AbortController();
    this.knowsAbort = abort;
    try {
      const knows = await api.knows(draft, abort.signal);
      if (this.knowsAbort !== abort) return;
      this.knows = knows;
      this.knowsError = '';
    } catch (error) {
      if (this.knowsAbort !== abort) return;
      const problems = error instanceof ApiError ? error.problems.map(({ path, message }) => `${path}: ${message}`) : [];
      this.knowsError = [messageOf(error), ...problems].join(' ');
    }
  }

  destroy(): void {
    this.stop();
    this.knowsAbort?.abort();
  }
}

/** Collects words and passes them on in handfuls. */
class Pace {
  private waiting = '';
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly pass: (text: string) => void) {}

  add(text: string): void {
    this.waiting += text;
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.waiting !== '') this.pass(this.waiting);
    this.waiting = '';
  }
}
