'use strict';
// Turns a request into the handler's two arguments. Pure: no I/O, no clock.

const { parseExact } = require('./exact');

const EVENT_TOKEN = 'kipper-event-token';
const FORM = 'application/x-www-form-urlencoded';
const JSON_MARKS = tableOf('[{,:');
const FORM_MARKS = tableOf('&=');

/** The caller sent something that cannot be an event; the message goes back with the status. */
class BadRequest extends Error {}

/** Splits a request target; the path stays as it was sent, percent-encoding included. */
function splitTarget(target) {
  if (!target.startsWith('/')) target = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '') || '/';
  const mark = target.indexOf('?');
  return mark < 0 ? { path: target, search: '' } : { path: target.slice(0, mark), search: target.slice(mark + 1) };
}

function buildContext(request, path, search, trigger) {
  if (request.headers[EVENT_TOKEN] !== undefined) delete request.headers[EVENT_TOKEN];
  return {
    method: request.method,
    path,
    query: search ? pairs(search) : {},
    headers: request.headers,
    trigger,
    isBase64: false,
    requestId: request.headers['x-request-id'] ?? null,
  };
}

/** The media type, without its parameters. */
function mediaOf(headers) {
  return (headers['content-type'] ?? '').split(';', 1)[0].trim().toLowerCase();
}

function isJson(media) {
  return media === 'application/json' || media.endsWith('+json');
}

/** The bytes of a body that may each become a value, as a table of 256; null where it becomes one value. */
function marksOf(headers) {
  const media = mediaOf(headers);
  if (isJson(media)) return JSON_MARKS;
  return media === FORM ? FORM_MARKS : null;
}

function tableOf(marks) {
  const table = new Uint8Array(256);
  for (const mark of Buffer.from(marks)) table[mark] = 1;
  return table;
}

/**
 * Returns the event and marks the context when it is bytes. `body` is what came, `content` the same without its
 * content encoding, or null when nobody here can undo that.
 */
function buildEvent(body, content, context) {
  // Not enumerable: signatures need the bytes as they came, logging the context does not.
  Object.defineProperty(context, 'rawBody', { value: body });
  if (body.length === 0) return null;
  if (content === null) return bytes(body, context);
  const media = mediaOf(context.headers);
  if (isJson(media)) return content.length === 0 ? null : parseJson(content);
  if (media === FORM) return pairs(content.toString('utf8'));
  const text = media.startsWith('text/') ? decodeText(content, context.headers['content-type']) : null;
  return text ?? bytes(content, context);
}

function bytes(content, context) {
  context.isBase64 = true;
  return content.toString('base64');
}

function parseJson(body) {
  try {
    return parseExact(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new BadRequest(`the body is not valid JSON: ${error.message}`);
  }
}

function decodeText(body, type) {
  const charset = type.split(';').map((part) => part.trim().toLowerCase()).find((part) => part.startsWith('charset='));
  const label = charset?.slice('charset='.length).replaceAll('"', '') || 'utf-8';
  if (label === 'utf-8') return body.toString('utf8');
  try {
    return new TextDecoder(label).decode(body);
  } catch {
    return null;
  }
}

/** name -> value, or an array of them where a name repeats. */
function pairs(encoded) {
  const found = new Map();
  for (const [name, value] of new URLSearchParams(encoded)) {
    const before = found.get(name);
    if (before === undefined) found.set(name, value);
    else if (Array.isArray(before)) before.push(value);
    else found.set(name, [before, value]);
  }
  // fromEntries defines own properties, so a field called `__proto__` stays a field.
  return Object.fromEntries(found);
}

module.exports = { BadRequest, EVENT_TOKEN, splitTarget, buildContext, buildEvent, marksOf };
