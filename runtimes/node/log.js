'use strict';
// The wrapper's own lines, on stderr. While serving, a record is one line whatever it holds, so that a log
// collector keeps a stack together; a process that is about to exit prints the stack as people read it.
// The handler's own output is never touched.

const fs = require('node:fs');

function log(message, error) {
  const text = error === undefined ? message : `${message}: ${describe(error)}`;
  write(`kipper: ${text.replace(/\s*\n\s*/g, ' | ')}\n`);
}

function fail(message, error, code = 1) {
  if (error === undefined) write(`kipper: ${message}\n`);
  else write(`kipper: ${message}: ${messageOf(error).split('\n')[0]}\n${error?.expected ? '' : `${describe(error)}\n`}`);
  process.exit(code);
}

function messageOf(error) {
  return error instanceof Error ? `${error.message || error.name}` : String(error);
}

function describe(error) {
  return require('node:util').inspect(error, { colors: false, depth: 4, maxStringLength: 4096 });
}

// `process.stderr` costs milliseconds to set up, so it is only used when the descriptor does not take the line.
function write(text) {
  try {
    fs.writeSync(2, text);
  } catch (error) {
    if (error.code === 'EAGAIN') process.stderr.write(text);
  }
}

module.exports = { log, fail, messageOf };
