/** The examples of the product's page, each by mouse and by keyboard alone. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answer, enter, eventually, HELLO, manifest, openFunction, suite } from './harness.mjs';
import { keyboard, mouse, reach } from './hands.mjs';

const at = suite({
  'hello.js': HELLO,
  'warm.yaml': manifest('warm', {
    runtime: 'python',
    source: { code: 'def handler(event, context=None):\n    return {}\n' },
    volumes: [{ name: 'cache', mountPath: '/data' }],
  }),
});

const OPENSRS = `const { Client } = require('pg');
const axios = require('axios');

module.exports = async () => {
  const { data } = await axios.get(\`https://\${process.env.OPENSRS_HOST}/domains\`, {
    headers: { 'X-Signature': process.env.OPENSRS_API_KEY },
  });
  console.log(data, Client);
};
`;
const KEY = 'canary-opensrs-71f0aa';

const stored = async (name) => {
  const { namespace } = await at.kip.api('GET', '/meta');
  return at.kip.api('GET', `/ns/${namespace}/functions/${name}`);
};

/** Begins a new function by its name and runtime. */
async function begin(hands, name, runtime) {
  await enter(at);
  const { page } = at;
  await hands.press(page.getByRole('link', { name: 'New function' }));
  await page.locator('.cm-content').waitFor();
  await hands.type(page.getByLabel('Name', { exact: true }).first(), name);
  await hands.choose(page.getByRole('radio', { name: runtime }));
}

const sectionOf = (id) => at.page.locator(`#${id}`);
const sql = (label) => sectionOf('trigger').getByRole('textbox', { name: label });

async function saved(hands, name) {
  await hands.save(at.page);
  await at.page.waitForURL(new RegExp(`/ns/[^/]+/${name}$`));
}

for (const hands of [mouse, keyboard]) {
  test(`a sync on a schedule with its settings, a secret and packages, by ${hands.name}`, async () => {
    const name = `opensrs-${hands.name}`;
    await begin(hands, name, 'Node 22');
    const { page } = at;
    await hands.code(page, OPENSRS);
    const trigger = sectionOf('trigger');
    await hands.choose(trigger.getByRole('radio', { name: 'Cron' }));
    await hands.select(trigger.getByLabel('Preset'), 'Every day at 02:00 UTC');
    await trigger.locator('.preview').getByText('Every day at 02:00 UTC').waitFor();
    await eventually(async () => assert.equal(await trigger.locator('.preview time').count(), 5));
    const environment = sectionOf('environment');
    await hands.press(environment.getByRole('button', { name: 'Add variable' }));
    await hands.type(environment.getByLabel('Name'), 'OPENSRS_HOST');
    await hands.type(environment.getByLabel('Value of OPENSRS_HOST'), 'horizon.opensrs.net');
    const secrets = sectionOf('secrets');
    await hands.press(secrets.getByRole('button', { name: 'Add secret' }));
    await hands.type(secrets.getByLabel('Name of the secret'), 'OPENSRS_API_KEY');
    await hands.type(secrets.getByLabel('Value of OPENSRS_API_KEY'), KEY);
    const dependencies = sectionOf('dependencies');
    await hands.press(dependencies.getByRole('button', { name: 'Scan code' }));
    await hands.type(dependencies.getByLabel('Version of pg'), '8.11.5');
    await hands.type(dependencies.getByLabel('Version of axios'), '1.6.7');
    await sectionOf('bindings').getByText('Service bindings need a cluster', { exact: false }).waitFor();
    const writes = [];
    page.on('request', (request) => {
      if (request.url().includes('/functions') && request.method() !== 'GET') writes.push(request.method());
    });
    await saved(hands, name);
    // Everything in one round trip.
    assert.deepEqual(writes, ['POST']);
    const { spec, url, secrets: names } = await stored(name);
    assert.equal(url, null, 'what a schedule invokes has no URL');
    assert.equal(spec.source.code, OPENSRS);
    assert.deepEqual(spec.source.dependencies, { axios: '1.6.7', pg: '8.11.5' });
    assert.deepEqual(spec.triggers, [{ type: 'cron', schedule: '0 2 * * *' }]);
    assert.deepEqual(spec.env, { OPENSRS_HOST: 'horizon.opensrs.net' });
    assert.deepEqual(names.map((secret) => secret.name), ['OPENSRS_API_KEY']);
    for (const file of await readdir(at.kip.folder)) assert.ok(!(await readFile(join(at.kip.folder, file), 'utf8')).includes(KEY), file);
    // The page has gone on to the function that is stored.
    await page.getByRole('heading', { name, exact: true }).waitFor();
    await secrets.getByText(/^Set/).waitFor();
  });

  test(`orders of a database, by ${hands.name}`, async () => {
    at.allowed.push(/422/);
    const name = `orders-${hands.name}`;
    await begin(hands, name, 'Python 3.12');
    const { page } = at;
    await hands.code(page, 'def handler(event, context=None):\n    print("order", event["id"])\n');
    const trigger = sectionOf('trigger');
    await hands.choose(trigger.getByRole('radio', { name: 'Postgres' }));
    await hands.type(trigger.getByRole('combobox', { name: 'Service' }), 'mydb');
    // What is required is asked for at its field, and nothing is made of the rest.
    await hands.save(page);
    await eventually(async () => assert.equal(await sql('Query').getAttribute('aria-invalid'), 'true'));
    await hands.type(sql('Query'), "SELECT * FROM orders WHERE status = 'pending'");
    await hands.type(sql('Mark done'), "UPDATE orders SET status = 'done' WHERE id = {{id");
    await eventually(async () => {
      assert.equal(await sql('Query').getAttribute('aria-invalid'), 'false');
      assert.equal(await sql('Mark done').getAttribute('aria-invalid'), 'true');
    });
    await hands.type(sql('Mark done'), "UPDATE orders SET status = 'done' WHERE id = {{id}}");
    await eventually(async () => assert.equal(await sql('Mark done').getAttribute('aria-invalid'), 'false'));
    await saved(hands, name);
    // Nothing is called well that is not, and Status is open then: this kip dev has not been told where the database is.
    await sectionOf('status').getByText('postgres trigger: needs --source mydb=<url>', { exact: false }).waitFor();
    assert.deepEqual((await stored(name)).spec.triggers, [
      {
        type: 'postgres',
        config: {
          source: 'mydb',
          query: "SELECT * FROM orders WHERE status = 'pending'",
          markDone: "UPDATE orders SET status = 'done' WHERE id = {{id}}",
        },
      },
    ]);
  });

  test(`a volume that a function has already, by ${hands.name}`, async () => {
    at.allowed.push(/422/);
    const path = `/${hands.name}`;
    await openFunction(at, 'warm');
    const { page } = at;
    await hands.press(page.locator('#volumes-button'));
    const volumes = sectionOf('volumes');
    await volumes.getByText('Volumes need a cluster', { exact: false }).waitFor();
    assert.ok(await volumes.getByRole('button', { name: 'Mount a volume' }).isDisabled());
    assert.equal(await volumes.getByLabel('Volume').inputValue(), 'cache');
    const field = volumes.getByLabel('Path in the container');
    await hands.type(field, 'data');
    await eventually(async () => assert.equal(await field.getAttribute('aria-invalid'), 'true'));
    await hands.type(field, path);
    await eventually(async () => assert.equal(await field.getAttribute('aria-invalid'), 'false'));
    await hands.save(page);
    await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
    assert.deepEqual((await stored('warm')).spec.volumes, [{ name: 'cache', mountPath: path }]);
  });

  test(`a webhook: an image needs a cluster, its port and security settings are the same fields, by ${hands.name}`, async () => {
    at.allowed.push(/422/);
    const name = `webhook-${hands.name}`;
    await begin(hands, name, 'Node 22');
    const { page } = at;
    assert.ok(await page.getByRole('radio', { name: 'Container image' }).isDisabled());
    await page.getByText('Images need a cluster', { exact: false }).waitFor();
    await hands.press(page.locator('#settings-button'));
    const settings = sectionOf('settings');
    const port = settings.getByLabel('Port');
    await hands.type(port, '99999');
    await eventually(async () => assert.equal(await port.getAttribute('aria-invalid'), 'true'));
    await hands.type(port, '9090');
    await hands.press(settings.getByRole('button', { name: 'Add origin' }));
    const origin = settings.getByLabel('Origin 1');
    await hands.type(origin, 'not an origin');
    await eventually(async () => assert.equal(await origin.getAttribute('aria-invalid'), 'true'));
    await hands.type(origin, 'https://cdn.example.com');
    await eventually(async () => assert.equal(await origin.getAttribute('aria-invalid'), 'false'));
    await saved(hands, name);
    const { spec } = await stored(name);
    assert.equal(spec.port, 9090);
    assert.deepEqual(spec.cspAllowlist, ['https://cdn.example.com']);
    await answer(at, name, (_, response) => /cdn\.example\.com/.test(response.headers.get('content-security-policy') ?? ''));
    // Without the headers there is nothing to allow.
    if ((await page.locator('#settings-button').getAttribute('aria-expanded')) !== 'true') await hands.press(page.locator('#settings-button'));
    for (const label of ['Scale at once', 'Security headers']) {
      const box = settings.getByRole('checkbox', { name: label });
      assert.ok(await box.isChecked(), label);
      if (hands === mouse) await box.uncheck();
      else {
        await reach(box);
        await page.keyboard.press('Space');
      }
    }
    await hands.save(page);
    await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
    await eventually(async () => assert.deepEqual((await stored(name)).spec.scaling, { burst: false }));
    await answer(at, name, (_, response) => response.status === 200 && response.headers.get('content-security-policy') === null);
  });

  test(`a second trigger is added, kept by a save of the first, and removed, by ${hands.name}`, async () => {
    const name = `twice-${hands.name}`;
    await begin(hands, name, 'Node 22');
    const { page } = at;
    const trigger = sectionOf('trigger');
    await hands.select(trigger.getByLabel('Another trigger'), 'Cron');
    await hands.press(trigger.getByRole('button', { name: 'Add trigger' }));
    await hands.select(trigger.getByLabel('Preset'), 'Every 5 minutes');
    await trigger.getByText('Also invoked by HTTP requests.').waitFor();
    await saved(hands, name);
    assert.deepEqual((await stored(name)).spec.triggers, [{ type: 'http' }, { type: 'cron', schedule: '*/5 * * * *' }]);
    await answer(at, name, (text) => text.includes('Hello'));
    // What is shown is the schedule: the request's URL is one press away, and a change here keeps the other.
    await hands.type(trigger.getByRole('textbox', { name: 'Schedule' }), '0 9 * * 1');
    await hands.press(trigger.getByRole('button', { name: 'Show the http trigger' }));
    await trigger.getByRole('link', { name: /_fn/ }).waitFor();
    await trigger.getByText('Also invoked by the schedule 0 9 * * 1.').waitFor();
    // One of each kind: there is only the event left to add.
    assert.deepEqual(await trigger.getByLabel('Another trigger').locator('option').allTextContents().then((all) => all.slice(1)), ['Postgres', 'MySQL', 'Redis', 'MinIO']);
    await hands.save(page);
    await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
    assert.deepEqual((await stored(name)).spec.triggers, [{ type: 'http' }, { type: 'cron', schedule: '0 9 * * 1' }]);
    await hands.press(trigger.getByRole('button', { name: 'Remove the cron trigger' }));
    assert.ok(await trigger.getByRole('radio', { name: 'HTTP' }).evaluate((radio) => radio === document.activeElement));
    await hands.save(page);
    await eventually(async () => assert.deepEqual((await stored(name)).spec.triggers ?? [], [{ type: 'http' }]));
  });
}
