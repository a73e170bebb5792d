import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allow, around, enter, eventually, openSection, save, setCode } from '../browser/harness.mjs';
import { apply, ClusterConsole, kubectl, WAKE_MS, within } from './cluster.mjs';

const HANDLER = `module.exports = async () => console.log('run as ' + process.env.KIPPER_TRIGGER)\n`;

/** Services of every kind; nobody connects to them here. */
const at = around(() =>
  within('triggers', async (sandbox) => {
    const { namespace } = sandbox;
    const service = (type) => ({ apiVersion: 'kipper.run/v1alpha1', kind: 'Service', metadata: { name: type, namespace }, spec: { type } });
    await apply(...['postgres', 'redis', 'minio'].map(service));
    return ClusterConsole.start(sandbox);
  }),
);

/** Opens the form of a new function of code, with this trigger. */
async function start(kind, fn) {
  const { page } = at;
  await enter(at, '/new');
  await page.getByLabel('Name', { exact: true }).fill(fn);
  await page.locator('#code-body .cm-content').waitFor();
  await setCode(page, HANDLER);
  const trigger = await openSection(page, 'trigger');
  await trigger.getByRole('radio', { name: kind }).check();
  return trigger;
}

async function created(fn) {
  await save(at.page, `Created ${fn}.`);
  const stored = await at.kip.sandbox.get('function', fn);
  return stored.spec.triggers;
}

test('rows of a table: what is wrong with a statement is said at its field', async () => {
  const fn = at.kip.sandbox.name('rows');
  const trigger = await start('Postgres', fn);
  await trigger.getByLabel('Service').fill('postgres');
  await trigger.getByLabel('Query').fill('SELECT id, total FROM orders WHERE done IS NULL');
  const mark = trigger.getByLabel('Mark done');
  await mark.fill('UPDATE orders SET done = now() WHERE id = {{id');
  allow(at, /422/);
  await at.page.keyboard.press('ControlOrMeta+s');
  await eventually(async () => assert.equal(await mark.getAttribute('aria-invalid'), 'true'));
  await trigger.getByText('has no }}: write {{column}}').waitFor();
  assert.equal(await at.kip.sandbox.get('function', fn), null);
  await mark.fill('UPDATE orders SET done = now() WHERE id = {{id}}');
  await eventually(async () => assert.equal(await mark.getAttribute('aria-invalid'), 'false'));
  assert.deepEqual(await created(fn), [{
    type: 'postgres',
    config: {
      source: 'postgres',
      query: 'SELECT id, total FROM orders WHERE done IS NULL',
      markDone: 'UPDATE orders SET done = now() WHERE id = {{id}}',
    },
  }]);
});

test('items of a list, objects of a bucket', async () => {
  const { sandbox } = at.kip;
  let trigger = await start('Redis', sandbox.name('items'));
  await trigger.getByLabel('Service').fill('redis');
  await trigger.getByLabel(/^List/).fill('work');
  assert.deepEqual(await created(sandbox.name('items')), [{ type: 'redis', config: { source: 'redis', list: 'work' } }]);
  trigger = await start('MinIO', sandbox.name('objects'));
  await trigger.getByLabel('Service').fill('minio');
  await trigger.getByLabel('Bucket').fill('uploads');
  assert.deepEqual(await created(sandbox.name('objects')), [{ type: 'minio', config: { source: 'minio', bucket: 'uploads' } }]);
});

test('a schedule: a test run now, its lines, and the last run', async () => {
  const { page, kip } = at;
  const fn = kip.sandbox.name('nightly');
  let trigger = await start('Cron', fn);
  await trigger.getByLabel(/^Schedule/).fill('0 2 * * *');
  await trigger.locator('p', { hasText: 'Every day at 02:00 UTC' }).waitFor();
  assert.equal(await trigger.getByRole('button', { name: 'Test run' }).isDisabled(), true);
  assert.deepEqual(await created(fn), [{ type: 'cron', schedule: '0 2 * * *' }]);
  trigger = await openSection(page, 'trigger');
  await eventually(async () => assert.ok(await kip.sandbox.get('cronjob', `${fn}-cron`)));
  await trigger.getByRole('button', { name: 'Test run' }).click();
  await page.getByText(/Started the test run/).waitFor();
  await page.getByTestId('log-lines').getByText('run as test').waitFor({ timeout: WAKE_MS });
  assert.equal(await trigger.getByText('Last run:').count(), 0, 'a test is not a run of the schedule');
  // What the schedule does at two, now.
  await kubectl(['create', 'job', `${fn}-now`, `--from=cronjob/${fn}-cron`, '-n', kip.sandbox.namespace]);
  await page.getByTestId('log-lines').getByText('run as cron').waitFor({ timeout: WAKE_MS });
  await trigger.getByText('Last run:').waitFor({ timeout: WAKE_MS });
});
