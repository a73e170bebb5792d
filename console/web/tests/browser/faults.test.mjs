import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { allow, CHROMIUM, codeOf, enter, eventually, HELLO, manifest, newPage, openFunction, openSection, save, setCode, suite } from './harness.mjs';

const at = suite({
  'one.yaml': manifest('one', { runtime: 'node', source: { code: HELLO, dependencies: {} }, env: { A: '1', B: '2' } }),
  'two.yaml': manifest('two', { runtime: 'node', source: { code: HELLO }, env: { A: '1' } }),
});

const stored = async (name) => {
  const { namespace } = await at.kip.api('GET', '/meta');
  return at.kip.api('GET', `/ns/${namespace}/functions/${name}`);
};
const problem = (status, reason, error) => ({ status, contentType: 'application/json', body: JSON.stringify({ error, reason }) });

test('a load that fails says so, shows no form, and cannot be saved', async () => {
  at.allowed.push(/502/);
  const { page } = at;
  await enter(at);
  const writes = [];
  page.on('request', (request) => {
    if (!['GET', 'HEAD'].includes(request.method()) && request.url().includes('/functions/')) writes.push(request.url());
  });
  await page.route('**/functions/one', (route) => route.fulfill(problem(502, 'unreachable', 'the API server does not answer')));
  await page.route('**/stream?*', (route) => route.fulfill(problem(502, 'unreachable', 'the API server does not answer')));
  await page.getByRole('link', { name: 'one', exact: true }).click();
  await page.getByText('the API server does not answer').first().waitFor();
  assert.equal(await page.locator('#environment').count(), 0);
  await page.keyboard.press('ControlOrMeta+s');
  await page.waitForTimeout(500);
  assert.deepEqual(writes, []);
  await page.unroute('**/functions/one');
  await page.unroute('**/stream?*');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.cm-content').waitFor();
  assert.deepEqual((await stored('one')).spec.env, { A: '1', B: '2' });
});

test('a list that fails to load is not an empty list', async () => {
  at.allowed.push(/502/);
  const { page } = at;
  await page.route('**/functions', (route) => route.fulfill(problem(502, 'unreachable', 'the API server does not answer')));
  await page.route('**/stream?*', (route) => route.fulfill(problem(502, 'unreachable', 'the API server does not answer')));
  await page.goto(at.kip.url);
  await page.getByText('The functions could not be loaded.').waitFor();
  assert.equal(await page.getByText(/No functions in/).count(), 0);
});

test('a slow server: what is typed meanwhile stays, and is saved by the next save', async () => {
  const { page } = at;
  await openFunction(at, 'one');
  await openSection(page, 'environment');
  await page.route('**/functions/one', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  const field = page.getByLabel('Value of A');
  await field.fill('first');
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('Saving …').waitFor();
  await field.fill('second');
  await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
  assert.equal(await field.inputValue(), 'second');
  await page.getByText('Unsaved changes').first().waitFor();
  assert.equal((await stored('one')).spec.env.A, 'first');
  await page.unroute('**/functions/one');
  await page.getByText('Saved and deployed.').first().waitFor({ state: 'detached' });
  await save(page);
  assert.equal((await stored('one')).spec.env.A, 'second');
});

test('a save that fails says why, keeps everything, and works again afterwards', async () => {
  at.allowed.push(/504/);
  const { page } = at;
  await openFunction(at, 'two');
  await page.route('**/functions/two', (route) => (route.request().method() === 'PUT' ? route.fulfill(problem(504, 'timeout', 'the API server took too long')) : route.continue()));
  await setCode(page, HELLO.replace('Hello', 'Later'));
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('the API server took too long').waitFor();
  assert.match(await codeOf(page), /Later/);
  await page.getByText('Unsaved changes').first().waitFor();
  await page.unroute('**/functions/two');
  await save(page);
  assert.match((await stored('two')).spec.source.code, /Later/);
});

test('a save that only did a part says which', async () => {
  const { page } = at;
  await openFunction(at, 'two');
  await page.route('**/functions/two', async (route) => {
    if (route.request().method() !== 'PUT') return route.continue();
    const answer = await route.fetch();
    const saved = await answer.json();
    await route.fulfill({ response: answer, json: { ...saved, failed: { step: 'secrets', error: 'forbidden by policy' } } });
  });
  await openSection(page, 'environment');
  await page.getByLabel('Value of A').fill('partly');
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('secrets failed', { exact: false }).waitFor();
  await page.getByText('forbidden by policy', { exact: false }).waitFor();
});

test('a function that is deleted elsewhere: the page says so and keeps what was typed', async () => {
  at.allowed.push(/404/);
  const { page } = at;
  await at.kip.write('gone.yaml', manifest('gone', { runtime: 'node', source: { code: HELLO } }));
  await eventually(() => stored('gone'));
  await openFunction(at, 'gone');
  await setCode(page, '// my work');
  const { namespace } = await at.kip.api('GET', '/meta');
  await at.kip.api('DELETE', `/ns/${namespace}/functions/gone`);
  await page.getByText('This function has been deleted elsewhere.').waitFor();
  assert.equal(await codeOf(page), '// my work');
});

test('a function whose name nobody knows is said not to be there', async () => {
  at.allowed.push(/404/);
  await enter(at);
  const { page } = at;
  const { namespace } = await at.kip.api('GET', '/meta');
  await page.goto(`${at.kip.origin}/ns/${namespace}/nobody`);
  await page.getByText('The function could not be loaded.').waitFor();
});

test('a function whose file is removed: the page says so, and the list has it no more', async () => {
  at.allowed.push(/404/);
  const { page } = at;
  await at.kip.write('removed.js', HELLO);
  await eventually(() => stored('removed'));
  await openFunction(at, 'removed');
  await setCode(page, '// my work');
  await rm(join(at.kip.folder, 'removed.js'));
  await page.getByText('This function has been deleted elsewhere.').waitFor();
  assert.equal(await codeOf(page), '// my work');
  await page.getByRole('link', { name: 'All functions' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Leave, keep the draft' }).click();
  await page.getByRole('link', { name: 'one', exact: true }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'removed', exact: true }).count(), 0);
});

test('a cluster that goes away while a page is open: it is said, and the page goes on when it is back', async () => {
  const { page } = at;
  await openFunction(at, 'one');
  const error = 'the cluster does not answer: connection refused';
  const told = JSON.stringify({ type: 'error', error, reason: 'unreachable' });
  await page.route('**/stream?*', (route) => route.fulfill({ contentType: 'application/x-ndjson', body: `${told}\n` }));
  // With the lines in view the page connects anew, and is told.
  await openSection(page, 'logs');
  await openSection(page, 'environment');
  await page.getByLabel('Value of A').fill('typed meanwhile');
  await page.getByText(error).waitFor();
  await page.unroute('**/stream?*');
  await page.getByText(error).waitFor({ state: 'detached' });
  assert.equal(await page.getByLabel('Value of A').inputValue(), 'typed meanwhile');
  await save(page);
  assert.equal((await stored('one')).spec.env.A, 'typed meanwhile');
});

test('who may not make or change functions is told before anything is typed', async () => {
  const { page } = at;
  const create = 'your account may not create functions of the namespace local';
  await page.route('**/rights', (route) => route.fulfill({ json: { create } }));
  await enter(at);
  await page.getByText(create).waitFor();
  assert.equal(await page.getByRole('link', { name: 'New function' }).count(), 0);
  await page.goto(`${at.kip.origin}/new`);
  await page.getByText(create).waitFor();
  await page.getByText('Read-only').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Save & deploy' }).isDisabled());
  const change = 'your account may not change functions of the namespace local';
  const readOnly = async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), readOnly: change } });
  };
  await page.route('**/functions/one', readOnly);
  await page.route('**/stream?*', (route) => route.abort());
  at.allowed.push(/ERR_FAILED/);
  await openFunction(at, 'one');
  await page.getByText(change).waitFor();
  await page.getByText('Read-only').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Save & deploy' }).isDisabled());
});

test('a new function whose secrets were stored alone says so, and one made in part as well', async () => {
  at.allowed.push(/500/);
  const { page } = at;
  await enter(at, '/new');
  await page.getByLabel('Name', { exact: true }).fill('halfway');
  let fault = { status: 500, json: { error: 'the cluster failed', reason: 'internal', written: ['secrets'] } };
  await page.route('**/functions', async (route) => (route.request().method() === 'POST' && fault ? route.fulfill(fault) : route.fallback()));
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('Stored already: secrets.').waitFor();
  fault = null;
  await page.route('**/functions', async (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), failed: { step: 'secrets', error: 'they will stay' } } });
  });
  await page.unroute('**/functions');
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('heading', { name: 'halfway' }).waitFor();
});

/** A page of a function, which its user has open beside the console. */
test('a function’s page can neither write to the console nor read it, nor can another name of it', async () => {
  allow(at, /CORS policy/, /ERR_FAILED/, /403/, /Failed to load resource/);
  const { page } = at;
  await enter(at);
  const { namespace } = await at.kip.api('GET', '/meta');
  const list = `${at.kip.origin}/api/v1/ns/${namespace}/functions`;
  const names = async () => (await at.kip.api('GET', `/ns/${namespace}/functions`)).items.map(({ name }) => name);
  const before = await names();
  const html = `module.exports = async () => ({ statusCode: 200, headers: { 'content-type': 'text/html' }, body: '<h1>evil</h1>' });\n`;
  // Without the headers that Kipper adds, which would keep the page from trying.
  await at.kip.write('evil.yaml', manifest('evil', { runtime: 'node', source: { code: html }, noSecurityHeaders: true }));
  await eventually(() => stored('evil'));
  const evil = await newPage(at, at.context);
  await eventually(async () => assert.equal((await evil.goto(`${at.kip.functions}/evil/`)).status(), 200));
  const submitted = evil.waitForResponse((response) => response.request().isNavigationRequest() && response.url() === list);
  const attempts = await evil.evaluate(
    async ([list, token]) => {
      const body = JSON.stringify({ name: 'planted', spec: { runtime: 'node', source: { code: '1' } } });
      const headers = { Authorization: `Bearer ${token}`, 'Kipper-Console': '1', 'Content-Type': 'application/json' };
      const outcome = (request) => request.then((answer) => `${answer.type} ${answer.status}`, () => 'refused');
      const form = document.createElement('form');
      Object.assign(form, { method: 'POST', action: list, enctype: 'text/plain', target: 'frame' });
      const frame = Object.assign(document.createElement('iframe'), { name: 'frame' });
      document.body.append(frame, form);
      form.append(Object.assign(document.createElement('input'), { name: body, value: '' }));
      form.submit();
      return [
        await outcome(fetch(list, { method: 'POST', headers, body })),
        await outcome(fetch(list, { method: 'POST', body, mode: 'no-cors' })),
        await outcome(fetch(list, { headers })),
      ];
    },
    // Even one that has the token by whatever means.
    [list, at.kip.token],
  );
  assert.deepEqual(attempts, ['refused', 'refused', 'refused']);
  assert.equal((await submitted).status(), 403);
  assert.deepEqual((await names()).filter((name) => name !== 'evil'), before);
  await evil.close();

  const { port } = new URL(at.kip.origin);
  const rules = `--host-resolver-rules=MAP rebound.example 127.0.0.1`;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', rules] });
  const rebound = await browser.newPage();
  const answer = await rebound.goto(`http://rebound.example:${port}/`);
  assert.equal(answer.status(), 403);
  assert.equal((await rebound.goto(`http://rebound.example:${port}/api/v1/meta`)).status(), 403);
  await browser.close();
});
