/**
 * The assistant's panel with a real model behind it: `make assistant-model`. A small model says what it
 * likes, so nothing here is about its words.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, HELLO, openFunction, suite } from '../browser/harness.mjs';

const ANSWER_MS = 120_000;

const at = suite({ 'hello.js': HELLO });

const panelOf = (page) => page.getByRole('complementary', { name: 'AI assistant' });
const answers = (page) => panelOf(page).getByRole('article', { name: 'Assistant' });

async function ask(text) {
  const { page } = at;
  await openFunction(at, 'hello');
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  const input = page.getByLabel('Message to the assistant');
  await input.fill(text);
  await input.press('Enter');
  return page;
}

test('a reply streams, is stopped, and is answered anew', async () => {
  const page = await ask('Write a haiku about rivers.');
  const seen = new Set();
  await eventually(async () => {
    seen.add((await answers(page).last().innerText()).length);
    assert.ok(seen.size > 3, 'it grows');
  }, ANSWER_MS);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Retry' }).waitFor();
  const stopped = await answers(page).last().innerText();
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  await page.getByRole('button', { name: 'Retry' }).waitFor({ timeout: ANSWER_MS });
  assert.notEqual(await answers(page).last().innerText(), stopped);
});

test('what is more than its context is counted beforehand, and its reply is said to be cut off', async () => {
  const page = await ask('Answer with one word: yes or no?');
  await page.getByRole('button', { name: 'Retry' }).waitFor({ timeout: ANSWER_MS });
  const input = page.getByLabel('Message to the assistant');
  await input.fill(`What is this? ${'river mountain '.repeat(3000)}`);
  await panelOf(page).getByText(/tokens/).first().waitFor();
  await input.press('Enter');
  await panelOf(page).getByText(/ended before it was complete/i).last().waitFor({ timeout: ANSWER_MS });
});
