'use strict';
// A handler's value as JSON. JSON.stringify writes `{}` for a Map, an Error or a Promise and refuses a BigInt; these
// become the obvious value, or an error that names the type and the place. Pure.

const { messageOf } = require('./log');

/** The value cannot be sent; the message says why. */
class AnswerError extends Error {}

const AS_OBJECT = new Set(['Map', 'Headers', 'URLSearchParams']);
// Everything that JSON.stringify turns into `{}` or into an object of indexes, and that has no obvious JSON value.
const NO_VALUE = new Set(['Error', 'DOMException', 'Promise', 'RegExp', 'WeakMap', 'WeakSet', 'WeakRef', 'ArrayBuffer',
  'SharedArrayBuffer', 'DataView', 'Generator', 'AsyncGenerator', 'Map Iterator', 'Set Iterator', 'Array Iterator',
  'Response', 'Request', 'Blob', 'File', 'FormData', 'ReadableStream']);

function encode(value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw refused(error);
    return encodeCarefully(value);
  }
  if (text === undefined) throw new AnswerError(`a ${typeof value} cannot be an answer`);
  // The look of a value that JSON.stringify does not know, or of an object that really is empty.
  return (text.includes('{}') || text.includes('{"0":')) && holdsUnknown(value) ? encodeCarefully(value) : text;
}

/** Whether anything in there needs more than JSON.stringify; a walk costs a fraction of a replacer's pass. */
function holdsUnknown(value) {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(holdsUnknown);
  if (typeof value.toJSON === 'function') return !(value instanceof Date);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null && isUnknown(tagOf(value), value)) return true;
  for (const key in value) if (holdsUnknown(value[key])) return true;
  return false;
}

function tagOf(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function isUnknown(tag, value) {
  return tag === 'Set' || AS_OBJECT.has(tag) || NO_VALUE.has(tag) || ArrayBuffer.isView(value);
}

function encodeCarefully(value) {
  const places = new Map();
  function known(key, given) {
    const place = places.has(this) ? `${places.get(this)}${Array.isArray(this) ? `[${key}]` : `.${key}`}` : '';
    const plain = toPlain(given, place);
    if (typeof plain === 'object' && plain !== null) places.set(plain, place);
    return plain;
  }
  try {
    return JSON.stringify(value, known);
  } catch (error) {
    throw error instanceof AnswerError ? error : refused(error);
  }
}

function toPlain(value, place) {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  const tag = tagOf(value);
  if (!isUnknown(tag, value)) return value;
  if (AS_OBJECT.has(tag)) return toObject(value, place);
  if (tag === 'Set') return [...value];
  const kind = `${/^[AEIO]/.test(tag) ? 'an' : 'a'} ${tag}`;
  throw new AnswerError(`the answer cannot be written as JSON: ${kind}${place && ` at ${place}`}`);
}

function toObject(map, place) {
  const strange = [...map.keys()].find((key) => !['string', 'number', 'bigint', 'boolean'].includes(typeof key));
  if (strange === undefined) return Object.fromEntries(map);
  const kind = typeof strange === 'object' ? 'an object' : `a ${typeof strange}`;
  throw new AnswerError(`the answer cannot be written as JSON: ${kind} as a key${place && ` at ${place}`}`);
}

function refused(error) {
  return new AnswerError(`the answer cannot be written as JSON: ${messageOf(error)}`);
}

module.exports = { AnswerError, encode };
