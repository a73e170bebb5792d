import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, openFunction, openSection, suite } from './harness.mjs';

const at = suite({ 'pid.js': 'module.exports = async () => String(process.pid);\n' });

test('a restart replaces what runs, and says where there is nothing to restart', async () => {
  const { page } = at;
  await openFunction(at, 'pid');
  const restart = async () => {
    await page.getByRole('button', { name: 'More actions' }).click();
    await page.getByRole('menuitem', { name: /^Restart/ }).click();
  };
  await restart();
  await page.getByText('pid is at zero replicas: there is nothing to restart.').waitFor();
  const first = await answer(at, 'pid', (text) => /^\d+$/.test(text));
  await page.getByText('Running').first().waitFor();
  await restart();
  await page.getByText('Restarting pid.').waitFor();
  await answer(at, 'pid', (text) => /^\d+$/.test(text) && text !== first);
});

test('the line of requests says what it shows', async () => {
  const { page } = at;
  await openFunction(at, 'pid');
  const status = await openSection(page, 'status');
  await status.getByText(/^0\.0 requests\/s, at most 0\.0 in the last minute$/).waitFor();
  await answer(at, 'pid', (text) => /^\d+$/.test(text));
  // A mean of two seconds, and not how many there were since the start.
  await status.getByText(/requests\/s, at most (?!0\.0)\d+\.\d in the last minute$/).waitFor();
  await status.getByText(/^0\.0 requests\/s, at most (?!0\.0)\d+\.\d in the last minute$/).waitFor();
  assert.equal(await status.getByTitle('Requests per second, every 2 s.').count(), 1);
});
