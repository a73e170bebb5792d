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
  await page.evaluate(() => navigator.clipboard.writeText('# colours\nexport COLOR="green"\nSIZE=12\n'));
  await section.getByLabel('Name').last().focus();
  await page.keyboard.press('ControlOrMeta+v');
  await section.getByRole('button', { name: 'Remove TEXT' }).click();
  await save(page);
  assert.deepEqual((await stored('env')).spec.env, { COLOR: 'green', SIZE: '12' });
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
