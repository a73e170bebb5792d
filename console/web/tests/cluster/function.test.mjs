import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { around, enter, eventually, openSection, save } from '../browser/harness.mjs';
import { apply, BRIDGE, ClusterConsole, kubectl, SERVER_IMAGE, WAKE_MS, within } from './cluster.mjs';
import { ADMIN, ADMIN_PASSWORD, onBridge, postgres } from './servers.mjs';

const SECRET = 'canary-of-the-cluster-77c1';
/** The function of all tests here, one after the other. */
const nameOf = (sandbox) => sandbox.name('hello');

const at = around(() =>
  within('function', async (sandbox) => {
    await database(sandbox);
    await volume(sandbox);
    return ClusterConsole.start(sandbox);
  }),
);

async function database(sandbox) {
  const server = await postgres(sandbox);
  const port = await onBridge(sandbox, server.port);
  const password = join(await sandbox.folder(), 'password');
  await writeFile(password, ADMIN_PASSWORD);
  const address = ['--host', BRIDGE, '--port', String(port), '--username', ADMIN, '--password-file', password];
  await sandbox.kip('service', 'create', 'orders', '--type=postgres', ...address);
}

/** The local cluster has no storage of its own. */
async function volume(sandbox) {
  await sandbox.kip('volume', 'create', 'cache');
  const { namespace } = sandbox;
  await apply({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: namespace },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      claimRef: { namespace, name: 'shared-cache' },
      hostPath: { path: await sandbox.folder() },
    },
  });
  sandbox.undo.unshift(() => kubectl(['delete', 'persistentvolume', namespace, '--wait=false']));
}

test('an image is deployed with everything that the form has, and answers', async () => {
  const { page, kip } = at;
  const { sandbox } = kip;
  const fn = nameOf(sandbox);
  await enter(at, '/new');
  await page.getByLabel('Name', { exact: true }).fill(fn);
  await page.getByLabel('Container image').first().check();
  await page.locator('#code').getByLabel('Container image').fill(SERVER_IMAGE);

  const bindings = await openSection(page, 'bindings');
  await bindings.getByLabel('Service to bind').selectOption('orders');
  await bindings.getByRole('button', { name: 'Bind', exact: true }).click();
  const binding = bindings.getByRole('article', { name: 'Binding of orders' });
  await injected(binding, 'DB_');
  await binding.getByLabel('Prefix').fill('ORDERS_');
  await injected(binding, 'ORDERS_');

  const volumes = await openSection(page, 'volumes');
  await volumes.getByRole('button', { name: 'Mount a volume' }).click();
  await volumes.getByLabel('Volume', { exact: true }).selectOption('cache');
  await volumes.getByLabel('Path in the container').fill('/data');

  const environment = await openSection(page, 'environment');
  await environment.getByRole('button', { name: 'Add variable' }).click();
  await environment.getByLabel('Name').fill('GREETING');
  await environment.getByLabel('Value of GREETING').fill('hello');

  const secrets = await openSection(page, 'secrets');
  await secrets.getByRole('button', { name: 'Add secret' }).click();
  await secrets.getByLabel('Name of the secret').fill('API_KEY');
  await secrets.getByLabel('Value of API_KEY').fill(SECRET);

  await save(page, `Created ${fn}.`);
  assert.equal(new URL(page.url()).pathname, `/ns/${sandbox.namespace}/${fn}`);
  const status = await openSection(page, 'status');
  await status.getByText('Everything is as it should be').waitFor({ timeout: WAKE_MS });

  const request = await openSection(page, 'request');
  await request.getByRole('button', { name: 'Send', exact: true }).click();
  // An error of the connection is shown in its place.
  const answer = page.getByTestId('answer-status').or(request.locator('.notice.bad'));
  await answer.waitFor({ timeout: WAKE_MS });
  assert.equal(await answer.textContent(), '200');

  await request.getByText('cold', { exact: true }).waitFor();
  assert.ok((await request.locator('.bar').count()) >= 3, 'the phases of the cold start are drawn');
  await status.locator('.facts').getByText('1 replica').waitFor();

  const [container] = (await sandbox.get('deployment', fn)).spec.template.spec.containers;
  const variables = Object.fromEntries(container.env.map((variable) => [variable.name, variable]));
  assert.equal(variables.GREETING.value, 'hello');
  assert.ok(variables.ORDERS_HOST && variables.ORDERS_PASSWORD.valueFrom.secretKeyRef, JSON.stringify(container.env));
  assert.ok(container.volumeMounts.some((mount) => mount.mountPath === '/data'), JSON.stringify(container.volumeMounts));
  const stored = await sandbox.get('secret', `${fn}-secrets`);
  assert.equal(Buffer.from(stored.data.API_KEY, 'base64').toString(), SECRET);
  await secrets.getByText('Set · never rotated').waitFor();
});

/** The preview of a binding has these names and no others. */
async function injected(binding, prefix) {
  const expected = ['HOST', 'PORT', 'USER', 'PASSWORD', 'NAME'].map((part) => prefix + part);
  await eventually(async () => assert.deepEqual(await binding.locator('.chip').allTextContents(), expected));
}

test('revisions are shown and rolled back', async () => {
  const { page, kip } = at;
  const fn = nameOf(kip.sandbox);
  await enter(at, `/ns/${kip.sandbox.namespace}/${fn}`);
  const environment = await openSection(page, 'environment');
  await environment.getByLabel('Value of GREETING').fill('good evening');
  await save(page);
  const revisions = await openSection(page, 'revisions');
  const current = revisions.getByRole('row').filter({ hasText: 'current' });
  await eventually(async () => assert.match((await current.textContent()) ?? '', /^2\s*current/));
  await revisions.getByRole('button', { name: 'Roll back to revision 1' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('good evening').waitFor();
  await dialog.getByRole('button', { name: 'Roll back', exact: true }).click();
  await page.getByText('Rolled back to revision 1.').waitFor();
  await eventually(async () => assert.equal(await environment.getByLabel('Value of GREETING').inputValue(), 'hello'));
  const { spec } = await kip.sandbox.get('function', fn);
  assert.equal(spec.env.GREETING, 'hello');
});

test('a function is deleted by its name', async () => {
  const { page, kip } = at;
  const fn = nameOf(kip.sandbox);
  await enter(at, `/ns/${kip.sandbox.namespace}/${fn}`);
  await page.getByRole('button', { name: 'More actions' }).click();
  await page.getByRole('menuitem', { name: 'Delete function' }).click();
  const dialog = page.getByRole('dialog');
  const button = dialog.getByRole('button', { name: 'Delete function' });
  await dialog.getByRole('textbox').fill(fn.slice(0, -1));
  assert.equal(await button.isDisabled(), true);
  await dialog.getByRole('textbox').fill(fn);
  await button.click();
  await page.getByText(`Deleted ${fn}.`).waitFor();
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
  await eventually(async () => {
    assert.equal(await page.getByRole('link', { name: fn }).count(), 0);
    for (const kind of ['function', 'deployment']) assert.equal(await kip.sandbox.get(kind, fn), null, kind);
    assert.equal(await kip.sandbox.get('secret', `${fn}-secrets`), null);
  });
});
