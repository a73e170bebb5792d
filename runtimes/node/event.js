'use strict';
// Turns a request into the handler's two arguments. Pure: no I/O, no clock.

/** The caller sent something that cannot be an event; the message goes back with the status. */
class BadRequest extends Error {}

/** Splits a request target; the path stays as it was sent, percent-encoding included. */
function splitTarget(target) {
  if (!target.startsWith('/')) target = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '') || '/';
  const mark = target.indexOf('?');
  return mark < 0 ? { path: target, search: '' } : { path: target.slice(0, mark), search: target.slice(mark + 1) };
}

function buildContext(request, path, search, trigger) {
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

/** Returns the event and marks the context when it is bytes. */
function buildEvent(body, context) {
  // Not enumerable: signatures need the bytes as they came, logging the context does not.
  Object.defineProperty(context, 'rawBody', { value: body });
  if (body.length === 0) return null;
  const [type, ...parameters] = (context.headers['content-type'] ?? '').split(';');
  const media = type.trim().toLowerCase();
  if (media === 'application/json' || media.endsWith('+json')) return parseJson(body);
  if (media === 'application/x-www-form-urlencoded') return pairs(body.toString('utf8'));
  const text = media.startsWith('text/') ? decodeText(body, parameters) : null;
  if (text !== null) return text;
  context.isBase64 = true;
  return body.toString('base64');
}

function parseJson(body) {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new BadRequest(`the body is not valid JSON: ${error.message}`);
  }
}

function decodeText(body, parameters) {
  const charset = parameters.map((part) => part.trim().toLowerCase()).find((part) => part.startsWith('charset='));
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

module.exports = { BadRequest, splitTarget, buildContext, buildEvent };
