import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, figure, manifest, openFunction, openSection, suite } from './harness.mjs';

const at = suite({
  'noisy.js': `module.exports = async (event) => {
  if (event?.kind === 'escapes') console.log('\\u001b[31mred\\u001b[0m \\u0007 bell \\u202e turned <b>markup</b>');
  if (event?.kind === 'long') console.log('start ' + 'x'.repeat(1024 * 1024) + ' end');
  for (let n = 0; n < (event?.lines ?? 0); n += 1) console.log('line number ' + n);
  return 'done';
};
`,
  'quiet.yaml': manifest('quiet', {
    runtime: 'node',
    source: { code: 'module.exports = async () => {};\n' },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }],
  }),
});

async function call(event) {
  const response = await fetch(`${at.kip.functions}/noisy/`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(event),
  });
  assert.equal(response.status, 200, await response.text());
}

const lines = (page) => page.getByTestId('log-lines');

test('escape sequences and controls are shown as text', async () => {
  await call({ kind: 'escapes' });
  await openFunction(at, 'noisy');
  const { page } = at;
  await openSection(page, 'logs');
  await lines(page).getByText('␛[31mred␛[0m ␇ bell \\u{202e} turned <b>markup</b>').first().waitFor();
  assert.equal(await lines(page).locator('b').count(), 0);
});

test('new lines come by themselves; scrolled up, the list stays and offers the way back', async () => {
  await openFunction(at, 'noisy');
  const { page } = at;
  await openSection(page, 'logs');
  await call({ lines: 200 });
  await lines(page).getByText('line number 199').first().waitFor();
  await lines(page).focus();
  await page.keyboard.press('PageUp');
  await page.keyboard.press('PageUp');
  await page.getByRole('button', { name: /Jump to newest/ }).waitFor();
  const top = () => lines(page).evaluate((list) => list.scrollTop);
  // The scroll may still be on its way.
  await page.waitForTimeout(500);
  const before = await top();
  await call({ lines: 20 });
  await page.getByRole('button', { name: /Jump to newest \(\d+ new\)/ }).waitFor();
  assert.equal(await top(), before);
  await page.getByRole('button', { name: /Jump to newest/ }).click();
  await lines(page).getByText('line number 19', { exact: true }).last().waitFor();
});

test('a line of a megabyte is clipped, and shown whole when asked for', async () => {
  await call({ kind: 'long' });
  await openFunction(at, 'noisy');
  const { page } = at;
  await openSection(page, 'logs');
  // kip cuts it into pieces, as Kubernetes does; a store of logs may have it in one.
  await lines(page).getByText(/^x{2000}…$/).first().waitFor();
  const text = `start ${'x'.repeat(1024 * 1024)} end`;
  const time = new Date().toISOString();
  await page.route('**/logs?*', (route) =>
    route.fulfill({ json: { lines: [{ time, pod: 'noisy-1', container: 'function', text }], notices: [], source: 'loki' } }),
  );
  await page.reload();
  await openSection(page, 'logs');
  const row = lines(page).locator('.text', { hasText: 'start x' });
  await row.waitFor();
  assert.equal((await row.textContent()).length, 2001);
  await lines(page).getByRole('button', { name: 'Show all' }).first().click();
  const region = page.getByRole('region', { name: 'The whole line' });
  await region.waitFor();
  assert.equal(await region.evaluate((element) => element.textContent.length), text.length);
  await page.keyboard.press('Escape');
  await region.waitFor({ state: 'detached' });
});

test('ten thousand lines: few rows, and typing is never held up', async () => {
  const { page } = at;
  const start = Date.now() - 3_000_000;
  const many = Array.from({ length: 10_000 }, (_, n) => ({
    time: new Date(start + n * 100).toISOString(),
    pod: `noisy-${n % 7}`,
    container: 'function',
    text: `row ${n} ${'lorem ipsum '.repeat(n % 9)}`,
  }));
  await page.route('**/logs?*', (route) => route.fulfill({ json: { lines: many, notices: [], source: 'pods' } }));
  await openFunction(at, 'noisy');
  await openSection(page, 'logs');
  await lines(page).getByText(/^row 9999 /).waitFor();
  await lines(page).focus();
  await page.evaluate(() => {
    window.longest = 0;
    window.rows = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
    }).observe({ type: 'longtask' });
    const count = () => {
      window.rows = Math.max(window.rows, document.querySelectorAll('[data-testid=log-lines] .line').length);
      requestAnimationFrame(count);
    };
    count();
  });
  await page.keyboard.press('Home');
  await lines(page).getByText(/^row 0 /).waitFor();
  for (let n = 0; n < 40; n += 1) await page.keyboard.press('PageDown');
  await page.keyboard.press('End');
  await lines(page).getByText(/^row 9999 /).waitFor();
  const search = page.getByLabel('Search the logs');
  // In any case of its letters, here as in the server.
  await search.pressSequentially('Row 77', { delay: 5 });
  assert.equal(await search.inputValue(), 'Row 77');
  await eventually(async () => {
    const texts = await lines(page).locator('.text').allTextContents();
    assert.ok(texts.length > 0 && texts.every((text) => text.includes('row 77')));
  });
  const { rows, longest } = await page.evaluate(() => ({ rows: window.rows, longest: window.longest }));
  // Printed only: how long it is depends on what else the machine does.
  figure('console_log_longest_task', longest, 'ms', '<=', 500);
  assert.ok(figure('console_log_rows', rows, 'rows', '<=', 200));
});

test('ranges and search are asked of the server, and an empty answer is said to be one', async () => {
  await openFunction(at, 'noisy');
  const { page } = at;
  await openSection(page, 'logs');
  const asked = [];
  page.on('request', (request) => {
    if (request.url().includes('/logs?')) asked.push(new URL(request.url()).searchParams.get('since'));
  });
  const range = page.getByLabel('Time range');
  assert.equal(await range.inputValue(), '1h');
  assert.deepEqual(await range.locator('option').evaluateAll((all) => all.map(({ value }) => value)), ['5m', '15m', '1h', '6h', '24h', '7d']);
  for (const value of ['5m', '15m', '6h', '24h', '7d']) {
    await range.selectOption(value);
    await eventually(() => assert.equal(asked.at(-1), value));
  }
  await page.getByLabel('Search the logs').fill('nothing has this in it');
  await page.getByText('No line contains “nothing has this in it”').waitFor();
});

test('no lines are explained, and logs that cannot be loaded are not called empty', async () => {
  at.allowed.push(/502/);
  const { page } = at;
  await page.route('**/logs?*', (route) => route.fulfill({ json: { lines: [], notices: [], source: 'loki' } }));
  await openFunction(at, 'quiet');
  await openSection(page, 'logs');
  await page.getByText('A cron function writes logs only while a run is in flight.').waitFor();
  await page.unroute('**/logs?*');
  await page.route('**/logs?*', (route) => route.fulfill({ status: 502, json: { error: 'no store of logs', reason: 'unreachable' } }));
  await page.reload();
  await openSection(page, 'logs');
  await page.getByText('The logs could not be loaded.').waitFor();
  assert.equal(await page.getByText(/No lines/).count(), 0);
});
