import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allow, around, enter, eventually, openSection, save } from '../browser/harness.mjs';
import { ClusterConsole, kubectl, READER, SERVER_IMAGE, within } from './cluster.mjs';

const EDITOR = [{ apiGroups: ['kipper.run'], resources: ['functions'], verbs: ['*'] }];
const USER = 'ada';

const at = around(() =>
  within('reader', async (sandbox) => {
    const fn = sandbox.name('seen');
    await sandbox.function(fn, { image: SERVER_IMAGE, env: { GREETING: 'hello' } });
    const kubeconfig = await sandbox.kubeconfigOf(await sandbox.user(USER, READER));
    const kip = await ClusterConsole.start(sandbox, { env: { KIP_KUBECONFIG: kubeconfig } });
    return Object.assign(kip, { fn });
  }),
);

const path = () => `/ns/${at.kip.sandbox.namespace}/${at.kip.fn}`;

test('namespaces that may not be listed are typed, and one without rights says so', async () => {
  const { page, kip } = at;
  allow(at, /403/);
  await enter(at);
  await page.getByRole('link', { name: kip.fn, exact: true }).waitFor();
  const namespace = page.getByRole('textbox', { name: 'Namespace' });
  await namespace.fill('default');
  await page.keyboard.press('Enter');
  await page.getByText('The functions could not be loaded.').waitFor();
  await page.getByText('cannot list resource "functions"').waitFor();
  await namespace.fill(kip.sandbox.namespace);
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: kip.fn, exact: true }).waitFor();
});

test('what may not be read is never called empty, and the rest is live', async () => {
  const { page, kip } = at;
  allow(at, /403/);
  await enter(at, path());
  const cannot = { status: 'events', bindings: 'services', volumes: 'persistentvolumeclaims', revisions: 'controllerrevisions', logs: 'pods' };
  for (const [id, resource] of Object.entries(cannot)) {
    const section = await openSection(page, id);
    await section.getByText(`cannot list resource "${resource}"`).waitFor();
    assert.equal(await section.getByText(/There (is|are) no/).count(), 0, id);
  }
  // The stream that has the lines has the function as well.
  const environment = await openSection(page, 'environment');
  await kip.sandbox.kip('function', 'env', 'set', kip.fn, 'GREETING=good evening');
  await eventually(async () => assert.equal(await environment.getByLabel('Value of GREETING').inputValue(), 'good evening'));
  assert.equal(await page.getByText('The connection to the console is lost.').count(), 0);
});

test('a right that was withdrawn is said in words, and what was typed stays', async () => {
  const { page, kip } = at;
  const { sandbox } = kip;
  allow(at, /403/);
  await may('yes', EDITOR);
  await enter(at, path());
  const environment = await openSection(page, 'environment');
  const value = environment.getByLabel('Value of GREETING');
  await value.fill('typed');
  await may('no', READER);
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('alert').filter({ hasText: 'Not saved.' }).filter({ hasText: 'cannot patch resource "functions"' }).waitFor();
  assert.equal(await value.inputValue(), 'typed');
  assert.equal((await sandbox.get('function', kip.fn)).spec.env.GREETING, 'good evening');
  await may('yes', EDITOR);
  await save(page);
  assert.equal((await sandbox.get('function', kip.fn)).spec.env.GREETING, 'typed');
});

/** Gives the user these rights and waits until the API server answers so. */
async function may(expected, rules) {
  const { sandbox } = at.kip;
  await sandbox.user(USER, rules);
  const who = `--as=system:serviceaccount:${sandbox.namespace}:${USER}`;
  await eventually(async () => {
    // Exits with 1 for a no.
    const asked = kubectl(['auth', 'can-i', 'patch', 'functions.kipper.run', '-n', sandbox.namespace, who]);
    assert.equal((await asked.catch((error) => error.stdout)).trim(), expected);
  });
}
