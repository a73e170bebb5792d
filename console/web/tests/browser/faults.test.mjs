import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf, enter, eventually, HELLO, manifest, openFunction, openSection, save, setCode, suite } from './harness.mjs';

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
  await page.route('**/ns/*/functions', (route) => route.fulfill(problem(502, 'unreachable', 'the API server does not answer')));
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
