import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { answer, enter, eventually, figure, manifest, newPage, openFunction, openSection, save, suite } from './harness.mjs';

/** Values that must be found nowhere but in the request that sets them. */
const SECRET = 'canary-secret-5b1f7c';
const REPLACED = 'canary-secret-9e02aa';
const ENV = 'canary-env-31c4d8';

const at = suite({
  'keys.yaml': manifest('keys', {
    runtime: 'node',
    source: { code: 'module.exports = async () => ({ length: (process.env.API_KEY ?? "").length });\n' },
  }),
  'page.js': 'module.exports = async () => ({ headers: { "Content-Type": "text/html" }, body: "<!doctype html><title>page</title>" });\n',
});

const found = [];
after(() => {
  figure('console_canaries', found.length, 'count', '==', 0);
});

/** Looks at everything that passes, on a page. */
function watch(page) {
  const answers = [];
  page.on('request', (request) => {
    for (const canary of [SECRET, REPLACED, ENV]) if (request.url().includes(canary)) found.push(`URL ${request.url()}`);
  });
  page.on('response', (response) => {
    if (!response.url().includes('/api/') || response.url().includes('/stream')) return;
    answers.push(
      response.text().then(
        (text) => [SECRET, REPLACED].filter((canary) => text.includes(canary)).forEach(() => found.push(`answer of ${response.url()}`)),
        () => {},
      ),
    );
  });
  page.on('console', (message) => {
    if (/canary-/.test(message.text())) found.push(`console ${message.text()}`);
  });
  return () => Promise.all(answers);
}

async function storage(page) {
  return page.evaluate(async () => {
    const all = [...Object.entries(localStorage), ...Object.entries(sessionStorage)].map((pair) => pair.join('='));
    for (const { name } of await indexedDB.databases()) all.push(`database ${name}`);
    return [...all, document.cookie, location.href, JSON.stringify(history.state)].join('\n');
  });
}

async function searchStorage(page, canaries) {
  const text = await storage(page);
  for (const canary of canaries) if (text.includes(canary)) found.push('storage of the browser');
}

test('a secret is set, reaches the function, and is never seen again', async () => {
  await openFunction(at, 'keys');
  const { page } = at;
  const settled = watch(page);
  const section = await openSection(page, 'secrets');
  await section.getByRole('button', { name: 'Add secret' }).click();
  await section.getByLabel('Name of the secret').fill('API_KEY');
  await section.getByLabel('Value of API_KEY').fill(SECRET);
  await openSection(page, 'environment');
  await page.getByRole('button', { name: 'Add variable' }).click();
  await page.locator('#environment').getByLabel('Name').fill('PLAIN');
  await page.locator('#environment').getByLabel('Value of PLAIN').fill(ENV);
  // A draft is written half a second after the last key.
  await page.waitForTimeout(1200);
  await searchStorage(page, [SECRET, ENV]);
  await save(page);
  await answer(at, 'keys', (text) => text.includes(`"length":${SECRET.length}`));
  await section.getByText(/^Set/).waitFor();
  assert.equal(await page.getByText(SECRET).count(), 0);
  await searchStorage(page, [SECRET, ENV]);
  await settled();
  assert.deepEqual(found, []);
});

test('a secret is replaced and says so, then deleted', async () => {
  await openFunction(at, 'keys');
  const { page } = at;
  const settled = watch(page);
  const section = await openSection(page, 'secrets');
  await section.getByRole('button', { name: 'Replace API_KEY' }).click();
  await section.getByLabel('Value of API_KEY').fill(REPLACED);
  await save(page);
  await answer(at, 'keys', (text) => text.includes(`"length":${REPLACED.length}`));
  await section.getByText(/rotated/).first().waitFor();
  await section.getByRole('button', { name: 'Delete API_KEY' }).click();
  await section.getByText('Will be deleted when you save').waitFor();
  await save(page);
  await answer(at, 'keys', (text) => text.includes('"length":0'));
  await settled();
  assert.deepEqual(found, []);
});

test('a draft with a secret comes back without its value, and asks for it', async () => {
  await openFunction(at, 'keys');
  const { page } = at;
  const section = await openSection(page, 'secrets');
  await section.getByRole('button', { name: 'Add secret' }).click();
  await section.getByLabel('Name of the secret').fill('TOKEN');
  await section.getByLabel('Value of TOKEN').fill(SECRET);
  await page.waitForTimeout(1200);
  page.on('dialog', (dialog) => void dialog.accept());
  await page.reload();
  await page.getByText('A draft from before is back.').waitFor();
  await openSection(page, 'secrets');
  assert.equal(await page.getByLabel('Value of TOKEN').inputValue(), '');
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('Drafts do not keep secrets. Type this one again.').waitFor();
  await searchStorage(page, [SECRET]);
  assert.deepEqual(found, []);
});

test('a function’s page gets the token neither by asking nor from storage; another tab of the console does', async () => {
  await enter(at);
  const { context } = at;
  const stranger = await newPage(at, context);
  await stranger.goto(`${at.kip.functions}/page/`);
  await stranger.evaluate(() => {
    window.heard = [];
    const channel = new BroadcastChannel('kipper-session');
    channel.onmessage = ({ data }) => window.heard.push(data);
    channel.postMessage({ ask: true });
  });
  // A tab without a token is told so; and the function has no picture for the tab.
  at.allowed.push(/401/, /favicon/);
  // It asks after the stranger, and is answered.
  const tab = await newPage(at, context);
  await tab.goto(at.kip.origin);
  await tab.getByRole('link', { name: 'keys', exact: true }).waitFor();
  const found = await stranger.evaluate(() => ({ heard: window.heard, stored: { ...sessionStorage, ...localStorage }, cookie: document.cookie, opener: window.opener }));
  assert.deepEqual(found, { heard: [], stored: {}, cookie: '', opener: null });
  assert.equal(await tab.evaluate(() => sessionStorage.getItem('kipper.token')), at.kip.token);
});

test('no value is in what kip wrote or printed', async () => {
  for (const canary of [SECRET, REPLACED]) {
    if (at.kip.output.includes(canary)) found.push('the log of kip');
    for (const file of await readdir(at.kip.folder, { recursive: true, withFileTypes: true })) {
      if (!file.isFile()) continue;
      const text = await readFile(join(file.parentPath, file.name), 'utf8');
      if (text.includes(canary)) found.push(`the file ${file.name}`);
    }
  }
  await eventually(() => assert.deepEqual(found, []));
});
