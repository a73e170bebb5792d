import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, codeOf, enter, eventually, HELLO, manifest, newPage, openFunction, openSection, save, setCode, suite } from './harness.mjs';

const spec = { runtime: 'node', source: { code: HELLO }, env: { A: '1', B: '1' }, idleTimeoutSeconds: 300 };
const at = suite({ 'one.yaml': manifest('one', spec), 'two.yaml': manifest('two', spec), 'three.yaml': manifest('three', spec) });

const stored = async (name) => {
  const { namespace } = await at.kip.api('GET', '/meta');
  return at.kip.api('GET', `/ns/${namespace}/functions/${name}`);
};

test('a draft survives a reload, is deployed by nobody, and can be discarded', async () => {
  await openFunction(at, 'one');
  const { page } = at;
  await setCode(page, '// half a thought');
  await page.waitForTimeout(1000);
  await page.reload();
  await page.getByText('A draft from before is back. Nothing of it is deployed.').waitFor();
  await eventually(async () => assert.equal(await codeOf(page), '// half a thought'));
  assert.equal((await stored('one')).spec.source.code, HELLO);
  await page.getByRole('button', { name: 'Discard draft' }).click();
  await eventually(async () => assert.equal(await codeOf(page), HELLO));
  await page.reload();
  await page.locator('.cm-content').waitFor();
  assert.equal(await page.getByText('A draft from before is back.').count(), 0);
});

test('two tabs that change different fields are merged', async () => {
  const { page, context } = at;
  await openFunction(at, 'two');
  const other = await newPage(at, context);
  await openFunction(at, 'two', other);
  await openSection(page, 'environment');
  await openSection(other, 'environment');
  await page.getByLabel('Value of A').fill('mine');
  await other.getByLabel('Value of B').fill('theirs');
  await save(other);
  await page.getByText('It has been changed elsewhere').waitFor();
  assert.equal(await page.getByLabel('Value of A').inputValue(), 'mine');
  await save(page);
  assert.deepEqual((await stored('two')).spec.env, { A: 'mine', B: 'theirs' });
  assert.equal(await page.getByLabel('Value of B').inputValue(), 'theirs');
});

test('a field that both changed is asked about, with both values', async () => {
  at.allowed.push(/409/);
  const { page, context } = at;
  await openFunction(at, 'two');
  const other = await newPage(at, context);
  await openFunction(at, 'two', other);
  await openSection(page, 'environment');
  await openSection(other, 'environment');
  await page.getByLabel('Value of A').fill('from here');
  await page.getByLabel('Value of B').fill('also from here');
  await other.getByLabel('Value of A').fill('from there');
  await save(other);
  await page.keyboard.press('ControlOrMeta+s');
  const dialog = page.getByRole('dialog', { name: 'Changed by somebody else meanwhile' });
  await dialog.waitFor();
  await dialog.getByText('from here', { exact: false }).first().waitFor();
  await dialog.getByText('from there', { exact: false }).first().waitFor();
  assert.equal((await stored('two')).spec.env.A, 'from there');
  await dialog.getByLabel('Take theirs').check();
  await dialog.getByRole('button', { name: 'Save & deploy' }).click();
  await page.getByRole('status').filter({ hasText: 'Saved and deployed.' }).first().waitFor();
  assert.deepEqual((await stored('two')).spec.env, { A: 'from there', B: 'also from here' });
  assert.equal(await page.getByText('Unsaved changes').count(), 0);
});

test('a change of the file beside an open form moves neither focus nor what is typed', async () => {
  const { page } = at;
  await openFunction(at, 'three');
  await openSection(page, 'environment');
  const field = page.getByLabel('Value of A');
  await field.fill('typing');
  await at.kip.write('three.yaml', manifest('three', { ...spec, env: { A: '1', B: '2' } }));
  await page.getByText('It has been changed elsewhere').waitFor();
  assert.equal(await field.inputValue(), 'typing');
  assert.ok(await field.evaluate((element) => element === document.activeElement));
  await save(page);
  assert.deepEqual((await stored('three')).spec.env, { A: 'typing', B: '2' });
});

test('a token of another run is refused in words', async () => {
  at.allowed.push(/401/);
  const { page } = at;
  await page.goto(`${at.kip.origin}/#token=0123456789abcdef0123456789abcdef`);
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
  await page.getByLabel('Token').fill('still wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('[role=alert]').filter({ hasText: /\w/ }).waitFor();
  await page.getByLabel('Token').fill(at.kip.token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('link', { name: 'one', exact: true }).waitFor();
});

test('kip is killed and started again while a form is open: the draft stays and is saved', async () => {
  at.allowed.push(/401|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|502|net::ERR/);
  const { page } = at;
  await openFunction(at, 'one');
  const changed = HELLO.replace('Hello', 'After the crash');
  await setCode(page, changed);
  await at.kip.kill();
  await page.getByText('The connection to the console is lost.').waitFor({ timeout: 15_000 });
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByText('Not saved.').waitFor();
  assert.equal(await codeOf(page), changed);
  await at.kip.restart();
  const dialog = page.getByRole('dialog', { name: 'Log in again' });
  await dialog.waitFor({ timeout: 30_000 });
  assert.equal(await codeOf(page), changed);
  await dialog.getByLabel('Token').fill(at.kip.url);
  await dialog.getByRole('button', { name: 'Log in' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await codeOf(page), changed);
  await save(page);
  await answer(at, 'one', (text) => text.includes('After the crash'));
});

test('the draft is also there after an expired session and a new page', async () => {
  at.allowed.push(/401/);
  const { page } = at;
  await openFunction(at, 'three');
  await setCode(page, '// before it expired');
  await page.waitForTimeout(1000);
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
  await page.getByLabel('Token').fill(at.kip.token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('A draft from before is back.').waitFor();
  await eventually(async () => assert.equal(await codeOf(page), '// before it expired'));
  await page.getByRole('button', { name: 'Discard draft' }).click();
});

test('leaving with unsaved changes asks, and never after a save', async () => {
  const { page } = at;
  await openFunction(at, 'three');
  await setCode(page, '// unsaved');
  await page.getByRole('link', { name: 'All functions' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await codeOf(page), '// unsaved');
  await setCode(page, HELLO);
  await page.getByText('Unsaved changes').waitFor({ state: 'detached' });
  await page.getByRole('link', { name: 'All functions' }).click();
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
});

test('enter is not needed twice: another tab of the browser is logged in by the first', async () => {
  const { page, context } = at;
  await enter(at);
  const other = await newPage(at, context);
  at.allowed.push(/401/);
  await other.goto(`${at.kip.origin}/`);
  await other.getByRole('link', { name: 'one', exact: true }).waitFor();
  await page.close();
});
