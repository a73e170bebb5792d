// Uploads 30 MB and prints the whole answer: `upload.js <1 or 2> <url>`.
'use strict';
const [version, url] = process.argv.slice(2);
const piece = Buffer.alloc(100_000);
const pieces = 300;

// Writes as it is taken, until the answer is there.
function upload(stream, answered) {
  let n = 0;
  const more = () => {
    while (n < pieces && !answered() && !stream.destroyed) {
      n += 1;
      if (!stream.write(piece)) return stream.once('drain', more);
    }
    stream.end();
  };
  more();
}

function collect(stream, status, close) {
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => {
    process.stdout.write(`${status} ${Buffer.concat(parts)}`);
    close();
  });
}

if (version === '2') {
  const session = require('node:http2').connect(url);
  const path = new URL(url).pathname;
  const stream = session.request({ ':method': 'POST', ':path': path });
  let answered = false;
  stream.on('response', (fields) => {
    answered = true;
    collect(stream, fields[':status'], () => session.destroy());
  });
  upload(stream, () => answered);
} else {
  let answered = false;
  const request = require('node:http').request(url, { method: 'POST' });
  request.on('response', (answer) => {
    answered = true;
    collect(answer, answer.statusCode, () => request.destroy());
  });
  request.on('error', (e) => {
    // After an answer, the connection may end under the rest of the upload.
    if (!answered) throw e;
  });
  upload(request, () => answered);
}
