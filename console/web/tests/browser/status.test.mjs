/** What the page says of a function that lives: while it starts, fails, runs and is called. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, enter, eventually, HELLO, manifest, newPage, openFunction, openSection, save, setCode, suite } from './harness.mjs';

const at = suite({
  'hello.js': HELLO,
  'broken.js': 'throw new Error("no luck today");\n',
  'beat.yaml': manifest('beat', {
    runtime: 'node',
    source: { code: 'module.exports = async () => { console.log("the deployed beat"); };\n' },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }],
  }),
});

const header = () => at.page.locator('header.bar');
const stored = async (name) => {
  const { namespace } = await at.kip.api('GET', '/meta');
  return at.kip.api('GET', `/ns/${namespace}/functions/${name}`);
};

test('what does not start is said with its reason and what to do, and is well once it is mended', async () => {
  await openFunction(at, 'broken');
  const { page } = at;
  await openSection(page, 'status');
  await answer(at, 'broken', (_, response) => response.status === 502);
  await page.locator('#status').getByText('no luck today', { exact: false }).first().waitFor();
  await header().getByText('Failed').waitFor();
  // Nothing is on its way any more: no spinner, no "saving".
  assert.equal(await page.locator('.spin').count(), 0);
  await setCode(page, HELLO);
  await save(page);
  await answer(at, 'broken', (text) => text.includes('Hello'));
  await header().getByText('Running').waitFor();
  await page.locator('#status').getByText('Everything is as it should be', { exact: false }).waitFor();
  // The list says the same.
  await enter(at);
  await page.getByRole('row', { name: /broken/ }).getByText('Running').waitFor();
});

test('a status that moves takes no focus, no text, and no save', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  const section = await openSection(page, 'environment');
  await section.getByRole('button', { name: 'Add variable' }).click();
  await section.getByLabel('Name').fill('COLOR');
  const value = section.getByLabel('Value of COLOR');
  await value.fill('half a wo');
  await header().getByText('Idle').waitFor();
  await answer(at, 'hello', (text) => text.includes('Hello'));
  await header().getByText('Running').waitFor();
  assert.equal(await value.inputValue(), 'half a wo');
  assert.ok(await value.evaluate((element) => element === document.activeElement));
  await page.keyboard.type('rd');
  await save(page);
  assert.equal((await stored('hello')).spec.env.COLOR, 'half a word');
});

test('requests and replicas are drawn as they come', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  const section = await openSection(page, 'status');
  await eventually(async () => {
    for (let sent = 0; sent < 20; sent += 1) await fetch(`${at.kip.functions}/hello/`);
    const [requests, replicas] = await section.locator('figcaption').allTextContents();
    assert.match(requests ?? '', /^[\d.]+ requests\/s, at most (?!0\.0)[\d.]+/);
    assert.match(replicas ?? '', /^(1 replica|\d+ replicas)$/);
  });
});

test('a test run runs what is deployed, not what is typed, and is the last run afterwards', async () => {
  await openFunction(at, 'beat');
  const { page } = at;
  const trigger = await openSection(page, 'trigger');
  await trigger.getByText('with KIPPER_TRIGGER=test', { exact: false }).waitFor();
  await setCode(page, 'module.exports = async () => { console.log("only typed"); };\n');
  await trigger.getByText('It runs the deployed function, without the unsaved changes.').waitFor();
  await trigger.getByRole('button', { name: 'Test run' }).click();
  const lines = page.getByTestId('log-lines');
  await lines.getByText('the deployed beat').first().waitFor({ timeout: 20_000 });
  await trigger.getByText('Last run: Succeeded', { exact: false }).waitFor();
  await header().getByText('last run Succeeded', { exact: false }).waitFor();
  assert.equal(await lines.getByText('only typed').count(), 0);
});

test('a theme is chosen, kept, and the same in every tab that is opened then', async () => {
  await enter(at);
  const { page, context } = at;
  const ground = (tab) => tab.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground(page);
  await page.getByRole('button', { name: 'Theme: system. Switch to light' }).click();
  await page.getByRole('button', { name: 'Theme: light. Switch to dark' }).click();
  const dark = await ground(page);
  assert.notEqual(dark, light);
  await page.reload();
  await page.getByRole('button', { name: 'Theme: dark. Switch to system' }).waitFor();
  assert.equal(await ground(page), dark);
  const other = await newPage(at, context);
  await enter(at, '/', other);
  assert.equal(await ground(other), dark);
});
