/**
 * A namespace of a test file's own in the cluster that KUBECONFIG names, its users, and `kip console` for
 * each. `deploy/local-cluster/cluster env` prints what has to be in the environment.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ended, KIP, Served } from '../browser/kip.mjs';

const run = promisify(execFile);

/** Answers every request and knows nothing of Kipper; listens on 8080. */
export const SERVER_IMAGE = 'docker.io/kipper/test-server:dev';
/** Where pods and the API server reach this machine. */
export const BRIDGE = '10.233.0.1';
export const SYSTEM = 'kipper-system';

/** Of a cold start, with everything that the test's cluster does beside it. */
export const WAKE_MS = 180_000;

/** Runs kubectl, with `input` as its standard input; returns what it prints. */
export function kubectl(args, input = '') {
  const pending = run('kubectl', args, { maxBuffer: 16 << 20 });
  pending.child.stdin.end(typeof input === 'string' ? input : JSON.stringify(input));
  return pending.then(({ stdout }) => stdout);
}

/** One object or a list as the API server has it; null where there is none. */
export async function object(...args) {
  const text = await kubectl(['get', ...args, '-o', 'json', '--ignore-not-found']);
  return text === '' ? null : JSON.parse(text);
}

export const apply = (...objects) => kubectl(['apply', '--server-side', '-f', '-'], { apiVersion: 'v1', kind: 'List', items: objects });

export class Sandbox {
  /** What has to be undone, the last one first. */
  undo = [];

  static async create(name) {
    const sandbox = new Sandbox();
    sandbox.suffix = randomBytes(3).toString('hex');
    sandbox.namespace = `ct-page-${name}-${sandbox.suffix}`;
    await kubectl(['create', 'namespace', sandbox.namespace]);
    sandbox.undo.push(() => kubectl(['delete', 'namespace', sandbox.namespace, '--wait=false']));
    return sandbox;
  }

  /** A function's name that no other test uses: hosts are the whole cluster's. */
  name(name) {
    return `${name}-${this.suffix}`;
  }

  /** A folder that goes with the sandbox. */
  async folder() {
    const folder = await mkdtemp(join(tmpdir(), 'kipper-page-'));
    this.undo.push(() => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  async get(kind, name) {
    return object('-n', this.namespace, kind, name);
  }

  /** `kip` as the administrator. */
  async kip(...args) {
    const { stdout } = await run(KIP, args, { env: { ...process.env, KIP_NAMESPACE: this.namespace } });
    return stdout;
  }

  async function(name, spec) {
    await apply({ apiVersion: 'kipper.run/v1alpha1', kind: 'Function', metadata: { name, namespace: this.namespace }, spec });
  }

  /** An account that may do this in the namespace; its token. */
  async user(name, rules) {
    const { namespace } = this;
    const metadata = { name, namespace };
    await apply(
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata,
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
        subjects: [{ kind: 'ServiceAccount', name, namespace }],
      },
    );
    return (await kubectl(['create', 'token', name, '-n', namespace])).trim();
  }

  /** The environment's kubeconfig, for whoever has this token. */
  async kubeconfigOf(token) {
    const own = JSON.parse(await kubectl(['config', 'view', '--raw', '--minify', '-o', 'json']));
    const path = join(await this.folder(), 'kubeconfig');
    await writeFile(path, JSON.stringify({ ...own, users: [{ name: own.contexts[0].context.user, user: { token } }] }));
    return path;
  }

  /** Undoes everything, whatever fails. */
  async stop() {
    const failures = [];
    for (const undo of this.undo.toReversed()) await undo().catch((error) => failures.push(error));
    if (failures.length > 0) throw new AggregateError(failures, 'not everything could be undone');
  }
}

/** May look at functions, and nothing else. */
export const READER = [{ apiGroups: ['kipper.run'], resources: ['functions'], verbs: ['get', 'list', 'watch'] }];

/** `kip console` for the namespace of a sandbox, which ends with it. */
export class ClusterConsole extends Served {
  static async start(sandbox, { args = [], env = {} } = {}) {
    const kip = new ClusterConsole();
    kip.sandbox = sandbox;
    sandbox.undo.push(() => ended(kip.process, 'SIGTERM'));
    await kip.run(['console', '--no-open', ...args], { KIP_NAMESPACE: sandbox.namespace, ...env });
    return kip;
  }

  stop() {
    return this.sandbox.stop();
  }
}

/** Makes the sandbox and what `furnish` returns in it; undoes what there is when that fails. */
export async function within(name, furnish) {
  const sandbox = await Sandbox.create(name);
  try {
    return await furnish(sandbox);
  } catch (error) {
    await sandbox.stop().catch(() => {});
    throw error;
  }
}
