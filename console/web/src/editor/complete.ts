/** What completion offers beside the language's own and the words of the document: what the platform gives a handler. */
import type { Completion } from '@codemirror/autocomplete';
import type { LanguageName } from './paths.ts';

/** A name that the function finds in its environment. */
export interface Variable {
  name: string;
  /** `environment variable`, `secret`, or `from eventdb (postgres)`. */
  origin: string;
}

const CONTEXT: Completion[] = [
  member('method', 'HTTP method of the request'),
  member('path', 'path without the query'),
  member('query', 'query parameters by name'),
  member('headers', 'request headers, names in lower case'),
  member('trigger', 'http, cron, test, postgres, mysql, redis or minio'),
  member('isBase64', 'whether event is bytes as base64'),
  member('requestId', 'from X-Request-Id, or none'),
  member('rawBody', 'the body’s bytes as they came'),
];

const BUCKET_EVENT: Completion[] = [
  member('EventName', 's3:ObjectCreated:… or s3:ObjectRemoved:…'),
  member('bucket', 'name of the bucket'),
  member('key', 'name of the object'),
  member('size', 'bytes of the object'),
  member('etag', 'its entity tag'),
  member('eventTime', 'when it happened'),
];

const ANSWER: Completion[] = [
  member('statusCode', 'status of the answer'),
  member('headers', 'headers of the answer'),
  member('body', 'body of the answer'),
];

/** Set by the platform itself. */
const OWN_VARIABLES: Variable[] = [{ name: 'KIPPER_TRIGGER', origin: 'http, cron, test or the event source' }];

function member(label: string, detail: string): Completion {
  return { label, detail, type: 'property' };
}

interface Offer {
  from: number;
  options: Completion[];
}

/** What is known about `text`, the line up to the caret; `null` where nothing of the platform fits. */
export function offer(language: LanguageName, text: string, variables: Variable[], triggers: string[]): Offer | null {
  return memberOffer(language, text, triggers) ?? variableOffer(language, text, variables) ?? answerOffer(text);
}

function memberOffer(language: LanguageName, text: string, triggers: string[]): Offer | null {
  const match = /(?:^|[^\w$.])(event|context|ctx)(\??\.|\[["'])([\w$]*)$/.exec(text);
  if (!match) return null;
  const [, owner, access, typed = ''] = match;
  // A Python event is a dict: it has no attributes of these names.
  const isAttribute = access?.endsWith('.') ?? false;
  const options = owner === 'event' ? eventMembers(language, isAttribute, triggers) : CONTEXT;
  return options.length > 0 ? { from: text.length - typed.length, options } : null;
}

function eventMembers(language: LanguageName, isAttribute: boolean, triggers: string[]): Completion[] {
  if (language === 'python' && isAttribute) return [];
  return triggers.includes('minio') ? BUCKET_EVENT : [];
}

const VARIABLE_ACCESS: Record<'node' | 'python', RegExp> = {
  node: /process\.env(?:\??\.|\[["'])(\w*)$/,
  python: /(?:environ\[|environ\.get\(|getenv\()\s*["'](\w*)$/,
};

function variableOffer(language: LanguageName, text: string, variables: Variable[]): Offer | null {
  const match = VARIABLE_ACCESS[language === 'python' ? 'python' : 'node'].exec(text);
  if (!match) return null;
  const options = [...variables, ...OWN_VARIABLES].map(
    ({ name, origin }, index): Completion => ({ label: name, detail: origin, type: 'constant', boost: 50 - Math.min(index, 50) }),
  );
  return { from: text.length - (match[1] ?? '').length, options };
}

function answerOffer(text: string): Offer | null {
  const match = /return\s*\{\s*["']?(\w*)$/.exec(text);
  return match ? { from: text.length - (match[1] ?? '').length, options: ANSWER } : null;
}
