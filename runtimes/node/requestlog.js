'use strict';
// A line per request on stdout, with KIPPER_LOG_REQUESTS=true. Required only then. Written when the answer is out, or
// the client gone; of the path without its query, which may hold what is nobody's business.

const { print } = require('./log');

const MAX_PATH = 200;
const MAX_METHOD = 32;
const MIB = 1024 * 1024;

class RequestLog {
  #served = false;
  #probed = false;

  /** `kind` is request, event or readiness. Readiness is asked for every second: only the first one has a line. */
  begin(kind, request, response, path) {
    if (kind === 'readiness') {
      if (this.#probed) return;
      this.#probed = true;
    }
    const began = performance.now();
    const start = kind === 'readiness' ? '' : this.#served ? ' warm' : ' cold';
    if (kind !== 'readiness') this.#served = true;
    const { method } = request;
    response.once('close', () => {
      const status = response.headersSent ? response.statusCode : '-';
      const took = Math.round(performance.now() - began);
      const memory = Math.round(process.memoryUsage.rss() / MIB);
      const end = response.writableFinished ? '' : ', cut off';
      const what = `${shown(method, MAX_METHOD)} ${shown(path, MAX_PATH)}`;
      print(`kipper: ${kind} ${what} ${status} ${took} ms${start} ${memory} MiB${end}\n`);
    });
  }
}

/** One line whatever it holds, and no longer than this. */
function shown(text, most) {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return cut.replace(/[^\x21-\x7e…]/g, (c) => `\\x${(c.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`);
}

module.exports = { RequestLog, shown };
