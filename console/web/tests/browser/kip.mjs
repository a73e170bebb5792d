/** A `kip` of its own for each test file. Ended by its process id. */
import { spawn } from 'node:child_process';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const START_MS = 60_000;
const STOP_MS = 10_000;

/** The `kip` to test, with the page inside. */
export const KIP = process.env.KIPPER_KIP;
/** A script that puts another build of the page in front of it, while the page is worked on. */
const FRONT = process.env.KIPPER_CONSOLE_FRONT;

export async function freePort(address = '127.0.0.1') {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, address, resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A process that serves the console. */
export class Served {
  /** What it has printed so far. */
  output = '';
  /** The console's address with the token behind `#token=`. */
  url = '';

  get origin() {
    return new URL(this.url).origin;
  }

  get token() {
    return new URL(this.url).hash.replace('#token=', '');
  }

  /** Runs `kip` until it has printed the console's address. */
  async run(args, env) {
    if (!KIP) throw new Error('KIPPER_KIP is not set: the path of the kip to test');
    this.output = '';
    this.process = spawn(KIP, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.url = await this.printed(this.process, /console on (http:\/\/\S+)/);
  }

  /** The first group of `pattern` in what a process prints. */
  printed(child, pattern) {
    let seen = '';
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${pattern} was not printed:\n${seen}`)), START_MS);
      const take = (chunk) => {
        seen += chunk;
        this.output += chunk;
        const found = pattern.exec(seen);
        if (!found) return;
        clearTimeout(timer);
        resolve(found[1]);
      };
      child.stdout.setEncoding('utf8').on('data', take);
      child.stderr.setEncoding('utf8').on('data', take);
      child.once('exit', (code) => reject(new Error(`it ended with ${code}:\n${seen}`)));
    });
  }

  /** A request to the console's API, past the page. */
  async api(method, path, body) {
    const response = await fetch(`${this.origin}/api/v1${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${this.token}`,
        'Kipper-Console': '1',
        'Content-Type': 'application/json',
        Origin: this.origin,
        'Sec-Fetch-Site': 'same-origin',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }
}

/** A `kip dev` on a folder of its own. */
export class Kip extends Served {
  /** Starts on a folder with these files: path to text. */
  static async start(files, options = {}) {
    const kip = new Kip();
    kip.options = options;
    kip.folder = await mkdtemp(join(tmpdir(), 'kipper-console-'));
    kip.cache = await mkdtemp(join(tmpdir(), 'kipper-cache-'));
    for (const [path, text] of Object.entries(files)) await kip.write(path, text);
    kip.ports = [await freePort(), await freePort(), await freePort()];
    await kip.spawn();
    return kip;
  }

  get functions() {
    return `http://127.0.0.1:${this.ports[0]}/_fn`;
  }

  async write(path, text) {
    await mkdir(dirname(join(this.folder, path)), { recursive: true });
    await writeFile(join(this.folder, path), text);
  }

  /** The same folder and ports again; another token. */
  async restart() {
    await this.kill();
    await this.spawn();
  }

  async spawn() {
    const [port, consolePort, frontPort] = this.ports;
    const args = ['dev', this.folder, '--port', String(port), '--console-port', String(consolePort), ...(this.options.args ?? [])];
    await this.run(args, { XDG_CACHE_HOME: this.cache, ...this.options.env });
    if (!FRONT) return;
    this.front = spawn(process.execPath, [FRONT, this.url, String(frontPort)], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.url = await this.printed(this.front, /(http:\/\/\S+)/);
  }

  /** Ends at once, as a crash would. */
  async kill() {
    await Promise.all([this.process, this.front].map((child) => ended(child, 'SIGKILL')));
  }

  async stop() {
    await Promise.all([this.process, this.front].map((child) => ended(child, 'SIGTERM')));
    for (const folder of [this.folder, this.cache]) await rm(folder, { recursive: true, force: true });
  }
}

export async function ended(child, signal) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exit;
  clearTimeout(timer);
}
