'use strict';
// Turns what a handler returned into status, headers and body. Pure, apart from reading a web Response's headers.

/** The handler returned something that cannot be sent. */
class AnswerError extends Error {}

// These describe the connection and the framing, which are the server's to decide.
const FRAMING = new Set(['connection', 'content-length', 'keep-alive', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade']);
const TEXT = 'text/plain; charset=utf-8';
const BYTES = 'application/octet-stream';
const JSON_TYPE = 'application/json';

/** Returns { status, headers: Map, body: string | Uint8Array | async iterable }. */
function toAnswer(value, emptyStatus) {
  if (isResponse(value)) return fromResponse(value);
  if (value === undefined || value === null) return { status: emptyStatus, headers: new Map(), body: '' };
  const shaped = typeof value === 'object' && value.statusCode !== undefined && !isStream(value) ? value : null;
  const headers = shaped ? readHeaders(shaped.headers) : new Map();
  const { body, type } = readBody(shaped ? shaped.body : value, shaped?.isBase64 || shaped?.isBase64Encoded);
  const status = shaped ? readStatus(shaped.statusCode) : 200;
  if (type && status !== 204 && !headers.has('content-type')) headers.set('content-type', type);
  return { status, headers, body };
}

function readStatus(value) {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status;
  throw new AnswerError(`statusCode must be a whole number from 200 to 599, not ${String(value)}`);
}

function readHeaders(given) {
  const headers = new Map();
  if (given === undefined || given === null) return headers;
  if (typeof given !== 'object' || Array.isArray(given)) throw new AnswerError('headers must be an object');
  const entries = Object.prototype.toString.call(given) === '[object Headers]' ? given : Object.entries(given);
  for (const [name, value] of entries) {
    const key = name.toLowerCase();
    if (FRAMING.has(key) || value === undefined || value === null) continue;
    if (key === 'set-cookie' && typeof given.getSetCookie === 'function') headers.set(key, given.getSetCookie());
    else headers.set(key, Array.isArray(value) ? value.map((one) => scalar(name, one)) : scalar(name, value));
  }
  return headers;
}

function scalar(name, value) {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new AnswerError(`header ${name} must be a string, a number or an array of them`);
}

function readBody(value, isBase64) {
  if (value === undefined || value === null) return { body: '' };
  if (typeof value === 'string') return isBase64 ? { body: decode(value), type: BYTES } : { body: value, type: TEXT };
  if (value instanceof Uint8Array) return { body: value, type: BYTES };
  if (value instanceof ArrayBuffer) return { body: new Uint8Array(value), type: BYTES };
  if (isStream(value)) return { body: value, type: BYTES };
  return { body: encode(value), type: JSON_TYPE };
}

function decode(text) {
  if (text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)) return Buffer.from(text, 'base64');
  throw new AnswerError('isBase64 is set, but the body is not valid base64');
}

function encode(value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new AnswerError(`the answer cannot be written as JSON: ${error.message}`);
  }
  if (text === undefined) throw new AnswerError(`a ${typeof value} cannot be an answer`);
  return text;
}

function isStream(value) {
  return typeof value === 'object' && value !== null && typeof value[Symbol.asyncIterator] === 'function';
}

// By its tag, because touching the global `Response` would load the whole fetch implementation.
function isResponse(value) {
  return Object.prototype.toString.call(value) === '[object Response]';
}

function fromResponse(response) {
  if (response.bodyUsed) throw new AnswerError('the Response was already read');
  return { status: readStatus(response.status), headers: readHeaders(response.headers), body: response.body ?? '' };
}

module.exports = { AnswerError, toAnswer, isStream };
