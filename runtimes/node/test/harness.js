'use strict';
// Starts the real wrapper as a child process on an ephemeral port and talks HTTP to it over loopback.

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { once } = require('node:events');

const MAIN = path.join(__dirname, '..', 'main.js');
const DEADLINE_MS = 60_000;

function folder(t, files, prefix = 'kipper-node-test-') {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), prefix));
  t.after(() => fs.rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(typeof files === 'string' ? { 'index.js': files } : files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  }
  return root;
}

/** Spawns the wrapper; `output` grows as the process writes. The child never outlives its test. */
function launch(t, functionPath, env = {}) {
  const child = spawn(process.execPath, [MAIN], {
    env: { ...process.env, PORT: '0', KIPPER_HOST: '127.0.0.1', KIPPER_FUNCTION_PATH: functionPath, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run = { child, stdout: '', stderr: '', exited: once(child, 'close').then(([code, signal]) => code ?? signal) };
  child.stdout.setEncoding('utf8').on('data', (text) => { run.stdout += text; child.emit('output'); });
  child.stderr.setEncoding('utf8').on('data', (text) => { run.stderr += text; child.emit('output'); });
  run.sees = (pattern) => waitFor(child, () => pattern.exec(run.stdout + run.stderr), () => `${pattern} in: ${run.stderr}`);
  t.after(async () => {
    child.kill('SIGKILL');
    await run.exited;
  });
  return run;
}

function waitFor(child, check, describe) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const found = check();
      if (!found) return;
      done();
      resolve(found);
    };
    const end = (why) => () => {
      if (check()) return look();
      done();
      reject(new Error(`${why} before ${describe()}`));
    };
    const closed = end('the process ended');
    const timer = setTimeout(end('the deadline passed'), DEADLINE_MS);
    const done = () => {
      clearTimeout(timer);
      child.off('output', look).off('close', closed);
    };
    child.on('output', look).once('close', closed);
    look();
  });
}

/** Starts a function and waits until it listens. */
async function start(t, files, env = {}) {
  const run = launch(t, folder(t, files), env);
  const [, port] = await run.sees(/listening on http:\/\/127\.0\.0\.1:(\d+)/);
  run.port = Number(port);
  run.get = (target, options) => request(run.port, { path: target, ...options });
  run.post = (target, body, headers = {}, options) => request(run.port, { method: 'POST', path: target, headers, ...options }, body);
  run.json = (target, value) => run.post(target, JSON.stringify(value), { 'content-type': 'application/json' });
  return run;
}

function request(port, options, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host: '127.0.0.1', port, agent: false, ...options }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString('utf8');
        resolve({ status: response.statusCode, headers: response.headers, bytes, text, json: () => JSON.parse(text) });
      });
    });
    sent.on('error', reject);
    if (Array.isArray(body)) {
      for (const part of body) sent.write(part);
      sent.end();
    } else sent.end(body);
  });
}

/** Sends bytes as they are and returns everything that comes back until the server closes. */
async function raw(port, text) {
  const socket = net.connect(port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('latin1').on('data', (data) => { answer += data; });
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

module.exports = { folder, launch, start, request, raw };
