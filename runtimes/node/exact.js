'use strict';
// JSON numbers that a double cannot hold arrive as text with all their digits, never as another number. Pure.
//
// A double keeps 15 significant digits, so a text without a long run of digits or a three-digit exponent has no such
// number: that is one pass of a regular expression. Only what it catches is read a second time, number by number.

const SUSPECT = /[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}/;
const NUMBER = /-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PARTS = /^-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$/;
// Shorter than this, no number loses a digit: a digit, the `e`, and three more.
const SHORTEST = 5;
// Joined that many at once: a text grown number by number keeps several times its size of small pieces.
const MOST_PARTS = 4096;
const QUOTE = 34;
const BACKSLASH = 92;
const MINUS = 45;
const ZERO = 48;
const NINE = 57;

/** What JSON.parse gives, apart from the numbers that it would have changed. */
function parseExact(text) {
  // First as it is: quoting a number must not turn invalid JSON into valid JSON.
  const value = JSON.parse(text);
  if (!SUSPECT.test(text)) return value;
  const quoted = quoteInexact(text);
  return quoted === text ? value : JSON.parse(quoted);
}

/** `text` is valid JSON. */
function quoteInexact(text) {
  let out = '';
  let parts = [];
  let copied = 0;
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === MINUS || (code >= ZERO && code <= NINE)) {
      NUMBER.lastIndex = at;
      const [token] = NUMBER.exec(text);
      const end = at + token.length;
      if (token.length >= SHORTEST && !keepsItsDigits(token)) {
        parts.push(text.slice(copied, at), token);
        copied = end;
        if (parts.length >= MOST_PARTS) {
          out += `${parts.join('"')}"`;
          parts = [];
        }
      }
      at = end;
    } else at += 1;
  }
  return copied === 0 ? text : out + [...parts, text.slice(copied)].join('"');
}

function endOfString(text, start) {
  for (let quote = text.indexOf('"', start + 1); ; quote = text.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (text.charCodeAt(quote - 1 - escapes) === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return quote + 1;
  }
}

/** Whole numbers count as unsafe from 2^53 on, so that a column of ids changes its type at one place only. */
function keepsItsDigits(token) {
  const number = Number(token);
  if (!/[.eE]/.test(token)) return Number.isSafeInteger(number);
  return Number.isFinite(number) && canonical(token) === canonical(String(number));
}

/** The significant digits and the power of ten of the last one. */
function canonical(token) {
  const [, whole, fraction = '', power = '0'] = PARTS.exec(token);
  const digits = whole + fraction;
  let first = 0;
  let end = digits.length;
  while (first < end && digits.charCodeAt(first) === ZERO) first += 1;
  while (end > first && digits.charCodeAt(end - 1) === ZERO) end -= 1;
  return first === end ? '0' : `${digits.slice(first, end)}e${Number(power) - fraction.length + digits.length - end}`;
}

module.exports = { parseExact };
