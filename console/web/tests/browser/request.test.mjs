import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, openFunction, openSection, suite } from './harness.mjs';

const at = suite({
  'echo.js': `module.exports = async (event, context) => {
  if (context.path === '/bytes') return Buffer.from([0, 1, 2, 255]);
  if (context.path === '/fail') throw new Error('it broke');
  if (context.path === '/big') return 'x'.repeat(600 * 1024);
  return { statusCode: 201, headers: { 'X-Path': context.path }, body: { event, method: context.method, query: context.query, mark: context.headers['x-mark'] } };
};
`,
});

const status = (page) => page.getByTestId('answer-status');

test('a request with headers and a JSON body, sent by keyboard; the answer is readable', async () => {
  await openFunction(at, 'echo');
  const { page } = at;
  const section = await openSection(page, 'request');
  await section.getByLabel('Path and query').fill('/a/b?c=d');
  await section.getByRole('button', { name: 'Add header' }).click();
  await page.keyboard.type('X-Mark');
  await section.getByLabel('Value of the header X-Mark').fill('seen');
  const body = section.getByLabel('Body', { exact: true });
  await body.fill('{"n": [1, 2}');
  await section.getByText('Not valid JSON').waitFor();
  await body.fill('{"n": [1, 2]}');
  await section.getByRole('button', { name: 'Format' }).click();
  assert.equal(await body.inputValue(), '{\n  "n": [\n    1,\n    2\n  ]\n}');
  await body.focus();
  await page.keyboard.press('ControlOrMeta+Enter');
  await eventually(async () => assert.equal(await status(page).textContent(), '201'));
  const answer = JSON.parse(await page.getByTestId('answer-body').textContent());
  assert.deepEqual(answer, { event: { n: [1, 2] }, method: 'POST', query: { c: 'd' }, mark: 'seen' });
  await section.getByText(/\d headers/).click();
  await section.getByText('/a/b', { exact: true }).waitFor();
});

test('bytes, failures and long bodies are said to be what they are', async () => {
  await openFunction(at, 'echo');
  const { page } = at;
  const section = await openSection(page, 'request');
  await section.getByLabel('Method').selectOption('GET');
  const path = section.getByLabel('Path and query');
  await path.fill('/bytes');
  await page.keyboard.press('Enter');
  await section.getByText('A binary body of 4 bytes.').waitFor();
  await path.fill('/fail');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(await status(page).textContent(), '500'));
  await path.fill('/big');
  await page.keyboard.press('Enter');
  await section.getByText('Only the first 256 KiB are shown.').waitFor();
  await section.getByText(/^Last \d+ requests$/).click();
  await section.getByRole('button', { name: /\/bytes/ }).first().click();
  assert.equal(await path.inputValue(), '/bytes');
  await section.getByText('A binary body of 4 bytes.').waitFor();
});

test('a cold start is drawn', async () => {
  const { page } = at;
  await page.route('**/invoke', (route) =>
    route.fulfill({
      json: {
        status: 200, headers: [['content-type', 'text/plain']], body: 'ok', isText: true, truncated: false, milliseconds: 1530,
        phases: [{ name: 'queue', milliseconds: 1500 }, { name: 'wake', milliseconds: 900 }, { name: 'ready', milliseconds: 590 }, { name: 'connect', milliseconds: 1 }, { name: 'ttfb', milliseconds: 20 }],
      },
    }),
  );
  await openFunction(at, 'echo');
  const section = await openSection(page, 'request');
  await section.getByRole('button', { name: 'Send', exact: true }).click();
  await section.getByText('cold', { exact: true }).waitFor();
  const bars = await section.locator('.bar').evaluateAll((all) => all.map((bar) => [bar.getBoundingClientRect().left, bar.getBoundingClientRect().right]));
  assert.equal(bars.length, 5);
  const [queue, wake, ready, connect] = bars;
  assert.ok(Math.abs(wake[1] - ready[0]) < 2, 'getting ready starts where waking ends');
  assert.ok(ready[1] <= queue[1] + 1 && connect[0] >= queue[1] - 1, 'both are within the queue, connecting is behind it');
});

test('the same request as a curl command', async () => {
  await openFunction(at, 'echo');
  const { page } = at;
  const section = await openSection(page, 'request');
  await section.getByLabel('Path and query').fill(`/it's`);
  await section.getByRole('button', { name: 'Copy as curl' }).click();
  await eventually(async () => {
    const text = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(text, /^curl -i 'http:\/\/127\.0\.0\.1:\d+\/_fn\/echo\/it'\\''s'/);
  });
});

test('a request that is not answered can be stopped', async () => {
  at.allowed.push(/ERR_/);
  const { page } = at;
  await page.route('**/invoke', () => {});
  await openFunction(at, 'echo');
  const section = await openSection(page, 'request');
  await section.getByRole('button', { name: 'Send', exact: true }).click();
  await section.getByText('Waiting for the answer.').waitFor();
  await section.getByRole('button', { name: 'Stop', exact: true }).click();
  await section.getByText('Stopped.').waitFor();
});
