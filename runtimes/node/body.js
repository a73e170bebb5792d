'use strict';
// Reads a request's body within its limits: one body's size, the memory for all of them, and both again for what a
// compressed one unpacks to.

const { BadRequest } = require('./event');
const { Refused } = require('./limits');
const { messageOf } = require('./log');

const NO_BODY = Buffer.alloc(0);

class ClientGone extends Error {}

function hasBody(headers) {
  const declared = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (declared !== undefined && declared !== '0');
}

/** Within what `hold` may take. */
function readBody(request, hold) {
  return new Promise((resolve, reject) => {
    const never = hold.limits.refusal(Number(request.headers['content-length']));
    if (never !== null) return reject(never);
    const chunks = [];
    let size = 0;
    const take = (chunk) => {
      size += chunk.length;
      const refused = hold.take(chunk, size);
      if (refused === null) return chunks.push(chunk);
      request.off('data', take).pause();
      chunks.length = 0;
      reject(refused);
    };
    request.on('data', take);
    request.once('end', () => resolve(chunks.length === 1 ? chunks.pop() : Buffer.concat(chunks.splice(0), size)));
    request.once('error', () => reject(new ClientGone()));
    request.once('close', () => reject(new ClientGone()));
  });
}

const DECODERS = { gzip: 'createGunzip', 'x-gzip': 'createGunzip', deflate: 'createInflate', br: 'createBrotliDecompress' };

/** The body without its content encoding, null for an encoding that is not known here. Removes the header it undid. */
async function inflate(body, headers, hold) {
  const encoding = headers['content-encoding'].trim().toLowerCase();
  if (encoding === 'identity' || encoding === '') return body;
  if (!Object.hasOwn(DECODERS, encoding)) return null;
  delete headers['content-encoding'];
  const zlib = require('node:zlib');
  // "deflate" is zlib's format by the book and raw in what some clients send; the first byte tells them apart.
  const name = encoding === 'deflate' && (body[0] & 0x0f) !== 8 ? 'createInflateRaw' : DECODERS[encoding];
  const decoder = zlib[name]();
  const chunks = [];
  let size = 0;
  try {
    decoder.end(body);
    for await (const chunk of decoder) {
      size += chunk.length;
      const refused = hold.take(chunk, size);
      if (refused !== null) throw refused;
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof Refused ? error : new BadRequest(`the body is not valid ${encoding}: ${messageOf(error)}`);
  }
  return Buffer.concat(chunks, size);
}

module.exports = { ClientGone, NO_BODY, hasBody, inflate, readBody };
