import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answer, eventually, HELLO, manifest, openFunction, openSection, save, setCode, suite } from './harness.mjs';

const at = suite({
  'env.yaml': manifest('env', {
    runtime: 'node',
    source: { code: 'module.exports = async () => ({ color: process.env.COLOR ?? null, text: process.env.TEXT ?? null });\n' },
    env: { COLOR: 'red' },
  }),
  'hello.js': HELLO,
  'plain.js': HELLO,
  'events.js': HELLO,
  'beat.yaml': manifest('beat', {
    runtime: 'node',
    source: { code: 'module.exports = async (event, context) => { console.log(`beat ${context.trigger}`); };\n' },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }],
  }),
});

const stored = async (name) => {
  const { namespace } = await at.kip.api('GET', '/meta');
  return at.kip.api('GET', `/ns/${namespace}/functions/${name}`);
};

/** Presses save and sees that nothing is sent. */
async function refusesToSave(page, message) {
  const writes = [];
  const watch = (request) => {
    if (request.method() === 'PUT') writes.push(request.url());
  };
  page.on('request', watch);
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText(message).first().waitFor();
  await page.waitForTimeout(300);
  page.off('request', watch);
  assert.deepEqual(writes, []);
}

test('environment variables: changed, of several lines, pasted from a .env, removed', async () => {
  await openFunction(at, 'env');
  const { page } = at;
  const section = await openSection(page, 'environment');
  await section.getByLabel('Value of COLOR').fill('blue');
  await section.getByRole('button', { name: 'Add variable' }).click();
  await section.getByLabel('Name').last().fill('TEXT');
  await section.getByLabel('Value of TEXT').fill('one\ntwo');
  await save(page);
  await answer(at, 'env', (text) => text.includes('"color":"blue"') && text.includes('one\\ntwo'));
  await section.getByRole('button', { name: 'Add variable' }).click();
  await page.evaluate(() => navigator.clipboard.writeText('# colours\nexport COLOR="green"\nBROKEN\nSIZE=12\n'));
  await section.getByLabel('Name').last().focus();
  await page.keyboard.press('ControlOrMeta+v');
  await page.getByText('A line was not taken, without NAME=value: BROKEN').waitFor();
  await section.getByRole('button', { name: 'Remove TEXT' }).click();
  await save(page);
  assert.deepEqual((await stored('env')).spec.env, { COLOR: 'green', SIZE: '12' });
});

test('a code file that becomes a manifest is named, and the focus stays on the button', async () => {
  await openFunction(at, 'plain');
  const { page } = at;
  const section = await openSection(page, 'environment');
  await section.getByRole('button', { name: 'Add variable' }).click();
  await section.getByLabel('Name').last().fill('COLOR');
  await section.getByLabel('Value of COLOR').fill('red');
  const button = page.getByRole('button', { name: 'Save & deploy', exact: true });
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByText('plain.js has become plain.yaml').waitFor();
  assert.ok(await button.evaluate((element) => element === document.activeElement));
  const secrets = await openSection(page, 'secrets');
  await secrets.getByRole('button', { name: 'Add secret' }).click();
  await secrets.getByLabel('Name of the secret').fill('COLOR');
  await section.getByText('The secret of the same name takes precedence: COLOR.').waitFor();
});

test('what takes no requests offers to send none', async () => {
  await openFunction(at, 'beat');
  const section = await openSection(at.page, 'request');
  await section.getByText('No trigger of this function takes requests.', { exact: false }).waitFor();
  assert.equal(await section.getByRole('button', { name: 'Send', exact: true }).count(), 0);
});

test('half-typed rows block the save at their field, and are not lost', async () => {
  await openFunction(at, 'env');
  const { page } = at;
  const section = await openSection(page, 'environment');
  await section.getByRole('button', { name: 'Add variable' }).click();
  await section.getByLabel('Value of a new row').fill('no name');
  await refusesToSave(page, 'Give this value a name, or remove the row.');
  await section.getByLabel('Name').last().fill('COLOR');
  await refusesToSave(page, 'There is another row with the name COLOR.');
  await section.getByLabel('Name').last().fill('OTHER');
  await save(page);
  const dependencies = await openSection(page, 'dependencies');
  await dependencies.getByRole('button', { name: 'Add package' }).click();
  await dependencies.getByRole('textbox', { name: 'Package', exact: true }).last().fill('left-pad');
  await refusesToSave(page, 'Give this package a version.');
  await dependencies.getByRole('button', { name: 'Remove left-pad' }).click();
  assert.equal((await stored('env')).spec.env.OTHER, 'no name');
});

test('a name that the server refuses is refused at its field', async () => {
  at.allowed.push(/422/);
  await openFunction(at, 'env');
  const { page } = at;
  const section = await openSection(page, 'environment');
  await section.getByRole('button', { name: 'Add variable' }).click();
  await section.getByLabel('Name').last().fill('BAD=NAME');
  await section.getByLabel('Value of BAD=NAME').fill('x');
  await section.locator('[aria-invalid=true]').first().waitFor();
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('button', { name: /problem/ }).first().waitFor();
  assert.equal((await stored('env')).spec.env['BAD=NAME'], undefined);
});

test('Scan code fills in the packages that the code imports, once', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  await setCode(page, `const { Client } = require('pg');\nimport('@aws-sdk/client-s3/x');\n// require('nope')\nconst fs = require('node:fs');\n${HELLO}`);
  const section = await openSection(page, 'dependencies');
  await page.locator('#dependencies').getByRole('button', { name: 'Scan code' }).click();
  await eventually(async () => assert.equal(await section.getByRole('textbox', { name: 'Package', exact: true }).count(), 2));
  const names = await section.getByRole('textbox', { name: 'Package', exact: true }).evaluateAll((inputs) => inputs.map((input) => input.value));
  assert.deepEqual(names.sort(), ['@aws-sdk/client-s3', 'pg']);
  await page.locator('#dependencies').getByRole('button', { name: 'Scan code' }).click();
  await page.getByText('Every package that the code imports is listed.').waitFor();
  await refusesToSave(page, 'Give this package a version.');
});

test('pg@8.11.5 is a package and its version', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  const section = await openSection(page, 'dependencies');
  await section.getByRole('button', { name: 'Add package' }).click();
  await section.getByRole('textbox', { name: 'Package', exact: true }).fill('pg@8.11.5');
  await page.keyboard.press('Tab');
  assert.equal(await section.getByRole('textbox', { name: 'Package', exact: true }).inputValue(), 'pg');
  assert.equal(await section.getByLabel('Version of pg').inputValue(), '8.11.5');
});

test('cron: presets, what they mean, the next five firings, and a schedule that is none', async () => {
  at.allowed.push(/422/);
  await openFunction(at, 'beat');
  const { page } = at;
  const section = await openSection(page, 'trigger');
  await section.locator('.preview').getByText('Every day at 02:00 UTC').waitFor();
  await eventually(async () => assert.equal(await section.locator('.preview time').count(), 5));
  const presets = await section.getByLabel('Preset').locator('option').evaluateAll((all) => all.map(({ value, label }) => [label, value]));
  assert.deepEqual(presets, [
    ['Custom', ''],
    ['Every minute (testing)', '* * * * *'],
    ['Every 5 minutes', '*/5 * * * *'],
    ['Every hour, on the hour', '0 * * * *'],
    ['Every day at midnight UTC', '0 0 * * *'],
    ['Every day at 02:00 UTC', '0 2 * * *'],
    ['Every Monday at 09:00 UTC', '0 9 * * 1'],
  ]);
  await section.getByLabel('Preset').selectOption('*/5 * * * *');
  await section.locator('.preview').getByText('Every 5 minutes').waitFor();
  const schedule = section.getByLabel('Schedule', { exact: false }).first();
  await schedule.fill('61 * * * *');
  await section.locator('.preview .problem').waitFor();
  await section.locator('[aria-invalid=true]').first().waitFor();
  await schedule.fill('0 9 * * 1');
  await section.locator('.preview').getByText(/Monday/).first().waitFor();
  await save(page);
  assert.equal((await stored('beat')).spec.triggers[0].schedule, '0 9 * * 1');
});

/** What each event trigger cannot be without, as somebody types it. */
const EVENTS = {
  MySQL: { kind: 'mysql', config: { source: ['Service', 'shopdb'], query: ['Query', 'SELECT id FROM orders'] } },
  Redis: { kind: 'redis', config: { source: ['Service', 'queue'], list: ['List', 'jobs'] } },
  MinIO: { kind: 'minio', config: { source: ['Service', 'files'], bucket: ['Bucket', 'uploads'] } },
};

for (const [title, { kind, config }] of Object.entries(EVENTS)) {
  test(`events of ${title}: each setting that is required is asked for at its field, and stored`, async () => {
    at.allowed.push(/422/);
    await openFunction(at, 'events');
    const { page } = at;
    const section = await openSection(page, 'trigger');
    await section.getByRole('radio', { name: title }).click();
    const fields = Object.values(config).map(([label, text]) => ({ field: section.getByLabel(label, { exact: false }).first(), text }));
    for (const { field } of fields) await eventually(async () => assert.equal(await field.getAttribute('aria-invalid'), 'true'));
    for (const { field, text } of fields) await field.fill(text);
    for (const { field } of fields) await eventually(async () => assert.equal(await field.getAttribute('aria-invalid'), 'false'));
    await save(page);
    const typed = Object.fromEntries(Object.entries(config).map(([name, [, text]]) => [name, text]));
    assert.deepEqual((await stored('events')).spec.triggers, [{ type: kind, config: typed }]);
  });
}

test('resources: what holds by default is shown, what is typed is checked and stored', async () => {
  at.allowed.push(/422/);
  await openFunction(at, 'env');
  const { page } = at;
  const section = await openSection(page, 'resources');
  const { defaults } = await at.kip.api('GET', '/meta');
  const memory = section.getByLabel('Memory limit');
  assert.equal(await memory.getAttribute('placeholder'), defaults.memoryLimit);
  await memory.fill('lots');
  await eventually(async () => assert.equal(await memory.getAttribute('aria-invalid'), 'true'));
  await memory.fill('512Mi');
  await section.getByLabel('CPU limit').fill('500m');
  await eventually(async () => assert.equal(await memory.getAttribute('aria-invalid'), 'false'));
  await save(page);
  assert.deepEqual((await stored('env')).spec.resources, { cpuLimit: '500m', memoryLimit: '512Mi' });
});

test('what a save would deploy is shown before, and no value of a secret with it', async () => {
  await openFunction(at, 'env');
  const { page } = at;
  const before = (await stored('env')).spec;
  const environment = await openSection(page, 'environment');
  await environment.getByRole('button', { name: 'Add variable' }).click();
  await environment.getByLabel('Name').last().fill('SHOWN');
  await environment.getByLabel('Value of SHOWN').fill('in the difference');
  const secrets = await openSection(page, 'secrets');
  await secrets.getByRole('button', { name: 'Add secret' }).click();
  await secrets.getByLabel('Name of the secret').fill('API_KEY');
  await secrets.getByLabel('Value of API_KEY').fill('canary-of-the-dialog');
  // Both sections say so, also for those who do not see colours.
  for (const id of ['environment', 'secrets']) await page.locator(`#${id}-button`).getByText('unsaved changes').waitFor();
  assert.equal(await page.locator('#code-button').getByText('unsaved changes').count(), 0);
  await page.getByRole('button', { name: 'More actions' }).click();
  await page.getByRole('menuitem', { name: /Show changes/ }).click();
  const dialog = page.getByRole('dialog', { name: 'Changes to deploy' });
  await dialog.getByRole('region', { name: 'Change of env.SHOWN' }).getByText('in the difference').waitFor();
  await dialog.getByText('Sets the secret API_KEY.').waitFor();
  assert.equal(await dialog.getByText('canary-of-the-dialog').count(), 0);
  assert.deepEqual((await stored('env')).spec, before);
  await dialog.getByRole('button', { name: 'Save & deploy' }).click();
  await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
  assert.equal((await stored('env')).spec.env.SHOWN, 'in the difference');
  assert.deepEqual((await stored('env')).secrets.map(({ name }) => name), ['API_KEY']);
});

test('a test run opens the logs and shows what it wrote', async () => {
  await openFunction(at, 'beat');
  const { page } = at;
  const section = await openSection(page, 'trigger');
  await section.getByRole('button', { name: 'Test run' }).click();
  await page.locator('#logs').getByText('beat test').first().waitFor({ timeout: 20_000 });
});

test('an unchanged save writes nothing', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  const before = await readFile(join(at.kip.folder, 'hello.js'), 'utf8');
  await save(page, 'Nothing has changed: what is deployed stays.');
  assert.equal(await readFile(join(at.kip.folder, 'hello.js'), 'utf8'), before);
});
