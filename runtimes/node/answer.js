'use strict';
// Turns what a handler returned into status, headers and body. Pure, apart from reading a web Response's headers.

const { AnswerError, encode } = require('./json');
const { isError, logOnce } = require('./log');

// These describe the connection and the framing, which are the server's to decide.
const FRAMING = new Set(['connection', 'content-length', 'keep-alive', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade']);
// fetch decodes these, and the header of the encoded body stays on its Response.
const DECODED_BY_FETCH = new Set(['gzip', 'x-gzip', 'deflate', 'br']);
// An object of nothing but these is an answer although its status is called `status`.
const ANSWER_KEYS = new Set(['status', 'headers', 'body', 'isBase64', 'isBase64Encoded', 'multiValueHeaders', 'cookies']);
const TEXT = 'text/plain; charset=utf-8';
const BYTES = 'application/octet-stream';
const JSON_TYPE = 'application/json';

/** Returns { status, headers: Map, body: string | Uint8Array | iterator }. An error that was returned is thrown. */
function toAnswer(value, emptyStatus) {
  if (typeof value !== 'object' || value === null) return plain(value, emptyStatus);
  if (isError(value)) throw value;
  if (isResponse(value)) return fromResponse(value);
  const given = statusOf(value);
  if (given === undefined) return plain(value, emptyStatus);
  const status = readStatus(given);
  const headers = readHeaders(value.headers);
  if (value.multiValueHeaders) for (const [name, values] of readHeaders(value.multiValueHeaders)) headers.set(name, values);
  if (value.cookies) headers.set('set-cookie', [headers.get('set-cookie') ?? [], readCookies(value.cookies)].flat());
  const { body, type } = readBody(value.body, value.isBase64 || value.isBase64Encoded);
  if (type && status !== 204 && !headers.has('content-type')) headers.set('content-type', type);
  return { status, headers, body };
}

function plain(value, emptyStatus) {
  if (value === undefined || value === null) return { status: emptyStatus, headers: new Map(), body: '' };
  const { body, type } = readBody(value, false);
  return { status: 200, headers: new Map([['content-type', type]]), body };
}

/** The status when the object is an answer, undefined when it is data. */
function statusOf(value) {
  if (isStream(value)) return undefined;
  if (value.statusCode !== undefined) return value.statusCode;
  const { status } = value;
  const keys = Object.keys(value);
  const shaped = keys.every((key) => ANSWER_KEYS.has(key));
  if (shaped && status === undefined && keys.includes('body') && keys.includes('headers')) {
    logOnce('the handler returned an object with headers and body and no statusCode: it is sent as data; an answer has a statusCode');
  }
  if (!Number.isInteger(status) || status < 100 || status > 599) return undefined;
  if (shaped && (keys.includes('body') || keys.includes('headers'))) return status;
  if (status !== 200) logOnce(`the handler returned an object with status ${status}: it is sent as data with 200; an answer's status is called statusCode`);
  return undefined;
}

function readStatus(value) {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status;
  const shown = ['string', 'number', 'boolean'].includes(typeof value) ? value : `a value of type ${typeof value}`;
  throw new AnswerError(`statusCode must be a whole number from 200 to 599, not ${shown}`);
}

function readHeaders(given) {
  const headers = new Map();
  if (given === undefined || given === null) return headers;
  for (const [name, value] of headerEntries(given)) {
    const key = String(name).toLowerCase();
    if (FRAMING.has(key) || value === undefined || value === null) continue;
    if (key === 'set-cookie' && typeof given.getSetCookie === 'function') headers.set(key, given.getSetCookie());
    else headers.set(key, Array.isArray(value) ? value.map((one) => scalar(key, one)) : scalar(key, value));
  }
  return headers;
}

/** From an object, a Map, a Headers or an array of pairs. */
function headerEntries(given) {
  if (typeof given !== 'object') throw new AnswerError('headers must be an object');
  if (typeof given[Symbol.iterator] !== 'function') return Object.entries(given);
  const entries = [...given];
  if (entries.every((pair) => Array.isArray(pair) && pair.length === 2)) return entries;
  throw new AnswerError('headers must be an object, or pairs of name and value');
}

function readCookies(given) {
  if (!Array.isArray(given)) throw new AnswerError('cookies must be an array of strings');
  return given.map((one) => scalar('set-cookie', one));
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

/** Whatever is read step by step: a stream, an async iterator, a generator. An array or a Map is not. */
function isStream(value) {
  if (typeof value !== 'object' || value === null) return false;
  return typeof value[Symbol.asyncIterator] === 'function'
    || (typeof value.next === 'function' && typeof value[Symbol.iterator] === 'function');
}

// By its tag, because touching the global `Response` would load the whole fetch implementation.
function isResponse(value) {
  return Object.prototype.toString.call(value) === '[object Response]';
}

function fromResponse(response) {
  if (response.bodyUsed) throw new AnswerError('the Response was already read');
  const headers = readHeaders(response.headers);
  // One that the handler made itself has no URL: its body is what its headers say.
  if (response.url && decodedByFetch(headers.get('content-encoding'))) headers.delete('content-encoding');
  return { status: readStatus(response.status), headers, body: response.body ?? '' };
}

function decodedByFetch(encoding) {
  return encoding !== undefined && encoding.split(',').every((one) => DECODED_BY_FETCH.has(one.trim().toLowerCase()));
}

module.exports = { AnswerError, toAnswer, statusOf, isResponse, isStream };
