'use strict';
// The wrapper's own lines, on stderr. While serving, a record is one line whatever it holds, so that a log
// collector keeps a stack together; a process that is about to exit prints the stack as people read it.
// The handler's own output is never touched. What was thrown may be anything: nothing in here throws on its account.

const fs = require('node:fs');

const MAX_MESSAGE = 4_096;
const MAX_DETAIL = 64 * 1024;
// Kubernetes mounts a ConfigMap's files as links into `..2026_07_04_12_00_00.123/`; people know the mounted path.
const DATA_FOLDER = /\/\.\.(?:\d{4}_\d\d_\d\d[^/\s]*|data)(?=\/)/g;

// The runtime's own folder and Node's modules, in a frame of a stack or in a list of who required a module.
const OWN = `${__dirname}/`;
const FRAME = /^\s*at /;

const shownAs = [];
const said = new Set();

/** Paths below `folder` are printed as if they were below `shown`. */
function showFolderAs(folder, shown) {
  shownAs.push([`${folder}/`, `${shown}/`]);
}

/**
 * What a handler prints of an error has the paths that people know as well. Node finds the mounted files where their
 * links lead and has those paths in its stacks.
 */
function showStacksReadable() {
  const { prepareStackTrace } = Error;
  Error.prepareStackTrace = (error, frames) => {
    const stack = prepareStackTrace ? prepareStackTrace(error, frames) : [header(error), ...frames].join('\n    at ');
    return typeof stack === 'string' ? readable(stack) : stack;
  };
}

/** The first line of a stack. An error may be anything, and its texts may throw. */
function header(error) {
  try {
    return Error.prototype.toString.call(error);
  } catch {
    return 'Error';
  }
}

function readable(text) {
  let shown = text.includes('/..') ? text.replace(DATA_FOLDER, '') : text;
  for (const [from, to] of shownAs) shown = shown.replaceAll(from, to);
  return shown;
}

function log(message, error) {
  const text = error === undefined ? message : `${message}: ${describe(error)}`;
  write(`kipper: ${text.replace(/\s*\n\s*/g, ' | ')}\n`);
}

/** For advice that is worth one line, not one per request. */
function logOnce(message) {
  if (said.has(message)) return;
  said.add(message);
  log(message);
}

/** The line that says why is the last one of a failure without a stack: of a long log the end is kept. */
function fail(message, error, code = 1) {
  if (error === undefined) write(`kipper: ${message}\n`);
  else if (error?.expected) write(`${error.detail ? `${error.detail.trimEnd()}\n` : ''}kipper: ${message}: ${firstLine(error)}\n`);
  else write(`kipper: ${message}: ${firstLine(error)}\n${describe(error)}\n`);
  process.exit(code);
}

/** Enough to act on: a syntax error's message says neither what it is nor where, its stack begins with the place. */
function firstLine(error) {
  const message = messageOf(error).split('\n')[0];
  if (!(error instanceof SyntaxError)) return message;
  const place = /^(?:file:\/\/)?(\/.*:\d+)\n/.exec(String(error.stack))?.[1];
  return place ? `SyntaxError: ${message} (${readable(place)})` : `SyntaxError: ${message}`;
}

function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

/** What was thrown, where it can be asked for its class; a proxy may fail at that. */
function asError(thrown) {
  try {
    isError(thrown);
    return thrown;
  } catch {
    return new Error(messageOf(thrown));
  }
}

/** A text for whatever was thrown. */
function messageOf(thrown) {
  try {
    return readable(textOf(thrown)).slice(0, MAX_MESSAGE);
  } catch {
    return `a thrown ${typeof thrown} has no readable text`;
  }
}

function textOf(thrown) {
  if (thrown === '') return 'the handler threw an empty text';
  if (thrown === null || typeof thrown !== 'object') return String(thrown);
  if (typeof thrown.message === 'string' && thrown.message !== '') return thrown.message;
  if (!isError(thrown)) return JSON.stringify(thrown) ?? inspect(thrown);
  return thrown.message ? inspect(thrown.message) : String(thrown.name || 'Error');
}

function describe(error) {
  try {
    return readable(ownFrames(inspect(error)).slice(0, MAX_DETAIL));
  } catch {
    return messageOf(error);
  }
}

/**
 * Without the frames of this runtime and of Node around the function's. An error that this runtime itself threw keeps
 * all of them.
 */
function ownFrames(text) {
  const lines = text.split('\n');
  const first = lines.find((line) => FRAME.test(line));
  if (first?.includes(OWN)) return text;
  const kept = [];
  for (const line of lines) {
    const dropped = FRAME.test(line) ? line.includes(OWN) || /[( ]node:/.test(line) : isOwnPath(line);
    if (!dropped) kept.push(line);
    // The properties of an error begin at the end of its last frame.
    else if (line.endsWith(' {') && kept.length > 0) kept[kept.length - 1] += ' {';
  }
  return kept.join('\n');
}

/** A line of `Require stack` or `requireStack` that names a file of this runtime. */
function isOwnPath(line) {
  const text = line.trim();
  return text.startsWith(`- ${OWN}`) || text.startsWith(`'${OWN}`);
}

function inspect(value) {
  return require('node:util').inspect(value, { colors: false, depth: 4, maxStringLength: 4096 });
}

// A stream costs milliseconds to set up, so it is only used when the descriptor does not take the line.
function write(text, descriptor = 2) {
  try {
    fs.writeSync(descriptor, text);
  } catch (error) {
    if (error.code === 'EAGAIN') (descriptor === 2 ? process.stderr : process.stdout).write(text);
  }
}

/** A line of what was asked for, on stdout. */
function print(text) {
  write(text, 1);
}

module.exports = { log, logOnce, print, fail, isError, asError, messageOf, showFolderAs, showStacksReadable };
