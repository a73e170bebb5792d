/** Databases and log stores of this machine, started as the Rust tests start them (`testing/servers`). */
import { execFile, spawn } from 'node:child_process';
import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { ended, freePort } from '../browser/kip.mjs';
import { BRIDGE } from './cluster.mjs';

const run = promisify(execFile);

const SCRIPTS = join(import.meta.dirname, '../../../../testing/servers/src');
/** Where Debian keeps PostgreSQL's programs, a folder per version. */
const POSTGRES = '/usr/lib/postgresql';
export const ADMIN = 'admin';
export const ADMIN_PASSWORD = 'pass-of-the-page-tests';

/** A certificate of its own for these names; returns the folder with `server.pem` and `server.key`. */
export async function certificate(folder, ...names) {
  const subject = ['-subj', '/CN=page-tests', '-addext', `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`];
  await run('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-keyout', join(folder, 'server.key'), '-out', join(folder, 'server.pem'), ...subject,
  ]);
}

/** Runs `<name>.sh` under the guard that stops it when this process ends: its port on the loopback, and `stop`. */
async function guarded(sandbox, name, { path = [], files = {}, asNobody = false } = {}) {
  const folder = await sandbox.folder();
  await copyFile(join(SCRIPTS, 'guard.sh'), join(folder, 'guard.sh'));
  await copyFile(join(SCRIPTS, `${name}.sh`), join(folder, 'server.sh'));
  await certificate(folder, 'localhost');
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
  let command = ['bash'];
  if (asNobody && process.getuid() === 0) {
    await run('chown', ['-R', 'nobody:', folder]);
    command = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', 'bash'];
  }
  const port = await freePort();
  const [program, ...before] = command;
  const args = [...before, join(folder, 'guard.sh'), folder, String(port), String(await freePort())];
  const env = { PATH: [...path, process.env.PATH, '/usr/sbin'].join(':'), HOME: folder, LC_ALL: 'C.UTF-8' };
  const guard = spawn(program, args, { cwd: folder, env, stdio: ['pipe', 'pipe', 'inherit'] });
  // Whatever becomes of the guard, its standard input ends with us.
  sandbox.undo.push(() => {
    guard.stdin.end();
    return ended(guard, 0);
  });
  const answers = createInterface(guard.stdout)[Symbol.asyncIterator]();
  const answered = async () => {
    const { value } = await answers.next();
    if (!value?.startsWith('ok ')) throw new Error(`${name}: ${value ?? 'its guard has ended'}`);
  };
  await answered();
  const stop = () => {
    guard.stdin.write('stop\n');
    return answered();
  };
  return { port, stop };
}

export async function postgres(sandbox) {
  const version = (await readdir(POSTGRES)).sort((a, b) => Number(b) - Number(a))[0];
  const files = { 'admin.pw': `${ADMIN_PASSWORD}\n`, 'lines.conf': '\n' };
  return guarded(sandbox, 'postgres', { path: [join(POSTGRES, version, 'bin')], files, asNobody: true });
}

/** Without tenants, for lines of any age. */
export async function loki(sandbox) {
  const settings = await readFile(join(SCRIPTS, 'loki.yaml'), 'utf8');
  return guarded(sandbox, 'loki', { files: { 'loki.yaml': `auth_enabled: false\n${settings}` } });
}

/** A port of the loopback, where pods reach it. */
export async function onBridge(sandbox, port) {
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    // Either side may leave; the other then sees it leave.
    client.on('error', () => upstream.destroy()).pipe(upstream);
    upstream.on('error', () => client.destroy()).pipe(client);
  });
  await new Promise((resolve) => server.listen(0, BRIDGE, resolve));
  server.unref();
  sandbox.undo.push(async () => void server.close());
  return server.address().port;
}
