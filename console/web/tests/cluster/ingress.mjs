/** nginx in the place of an ingress controller: hosts of the cluster over HTTPS, as browsers reach them. */
import { spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ended, freePort } from '../browser/kip.mjs';
import { eventually } from '../browser/harness.mjs';
import { BRIDGE, object, SYSTEM } from './cluster.mjs';
import { certificate } from './servers.mjs';

/** What every host of the local cluster is below of. */
const WILDCARD = '*.kipper.run';

/**
 * Leads the console's host where its Ingress says, and every other one to the interceptors: flags with which chromium
 * finds and trusts it, and what it was asked.
 */
export async function ingress(sandbox) {
  const folder = await sandbox.folder();
  await certificate(folder, WILDCARD);
  const [rule] = (await object('-n', SYSTEM, 'ingress', 'kipper-console')).spec.rules;
  const { service } = rule.http.paths[0].backend;
  const port = await freePort(BRIDGE);
  const conf = `
    daemon off; master_process off; pid nginx.pid; error_log stderr crit;
    events {}
    http {
      log_format asked escape=json '{"method":"$request_method","path":"$request_uri","status":$status,"site":"$http_sec_fetch_site","cookie":"$http_cookie"}';
      access_log asked.log asked;
      client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
      uwsgi_temp_path uwsgi; scgi_temp_path scgi;
      ssl_certificate server.pem; ssl_certificate_key server.key;
      proxy_http_version 1.1;
      proxy_connect_timeout 5s;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      server { listen ${BRIDGE}:${port} ssl default_server; location / { proxy_pass http://${await addressOf('kipper-interceptor', 'http')}; } }
      server { listen ${BRIDGE}:${port} ssl; server_name ${rule.host}; location / { proxy_pass http://${await addressOf(service.name, service.port.name)}; } }
    }`;
  await writeFile(join(folder, 'nginx.conf'), conf);
  const nginx = spawn('nginx', ['-p', folder, '-e', 'stderr', '-c', 'nginx.conf'], { stdio: ['ignore', 'inherit', 'inherit'] });
  sandbox.undo.push(() => ended(nginx, 'SIGTERM'));
  await eventually(() => connected(port));
  const { publicKey } = new X509Certificate(await readFile(join(folder, 'server.pem')));
  const pin = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  return {
    chromium: [`--host-resolver-rules=MAP ${WILDCARD} ${BRIDGE}:${port}`, `--ignore-certificate-errors-spki-list=${pin}`],
    async requests() {
      const lines = (await readFile(join(folder, 'asked.log'), 'utf8')).trim().split('\n');
      return lines.map((line) => JSON.parse(line)).map(({ cookie, ...asked }) => ({ ...asked, hasSession: cookie.includes('__Host-kipper-session=') }));
    },
  };
}

/** The address of a Service, which this machine reaches. */
export async function addressOf(name, port) {
  const { clusterIP, ports } = (await object('-n', SYSTEM, 'service', name)).spec;
  return `${clusterIP}:${ports.find((candidate) => candidate.name === port).port}`;
}

function connected(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, BRIDGE, () => resolve(socket.destroy()));
    socket.on('error', reject);
  });
}
