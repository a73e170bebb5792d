import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { enter, eventually, HELLO, openFunction, suite } from './harness.mjs';
import { Kip } from './kip.mjs';
import { Provider } from './provider.mjs';

const KEY = 'canary-key-77aa03';

const provider = await Provider.start();
after(() => provider.stop());
const at = suite({ 'hello.js': HELLO }, provider.options(KEY));

test('Settings show the provider without its key, say who may change it, and try it', async () => {
  const { page } = at;
  await enter(at);
  const texts = [];
  page.on('response', (response) => texts.push(response.text().catch(() => '')));
  await page.getByRole('link', { name: 'Settings' }).click();
  const form = page.getByRole('form', { name: 'AI provider' });
  await form.waitFor();
  assert.equal(await form.getByLabel('Provider').inputValue(), 'openai');
  assert.equal(await form.getByLabel('URL').inputValue(), provider.url);
  assert.equal(await form.getByLabel('Model').inputValue(), 'test');
  const key = form.getByLabel('Key', { exact: true });
  assert.deepEqual([await key.inputValue(), await key.getAttribute('type'), await key.isDisabled()], ['', 'password', true]);
  await form.getByText(/^Set/).waitFor();
  await page.getByText('--ai-').first().waitFor();
  assert.ok(await form.getByRole('button', { name: 'Save' }).isDisabled());
  await form.getByRole('button', { name: 'Try' }).click();
  (await provider.next()).answer('ok');
  await form.getByText('The model answered: ok').waitFor();
  assert.deepEqual(await form.locator('datalist option').evaluateAll((all) => all.map((option) => option.value)), ['test', 'another']);
  assert.ok((await Promise.all(texts)).every((text) => !text.includes(KEY)));
});

test('a key is set, replaced and removed, and never sent where it does not belong', async () => {
  const { page } = at;
  // Only a console on a cluster stores settings: its own tests are about the storing.
  let stored = { provider: 'openai', url: 'https://a.example/v1', model: 'm', keySet: true, changed: new Date(Date.now() - 3 * 86_400_000).toISOString(), canChange: true, why: null, source: 'secret' };
  const changes = [];
  await page.route('**/api/v1/settings/ai', async (route) => {
    if (route.request().method() === 'PUT') {
      const { key, ...rest } = route.request().postDataJSON();
      changes.push(key);
      stored = { ...stored, ...rest, keySet: key === null ? stored.keySet : key !== '' };
    }
    await route.fulfill({ json: stored });
  });
  await enter(at);
  await page.getByRole('link', { name: 'Settings' }).click();
  const form = page.getByRole('form', { name: 'AI provider' });
  await form.getByText('changed 3d ago', { exact: false }).waitFor();
  await form.getByLabel('URL').fill('https://b.example/v1');
  await form.getByText('belongs to another provider or URL').waitFor();
  await form.getByLabel('URL').fill('https://a.example/v1');
  await form.getByRole('button', { name: 'Save' }).click();
  await eventually(async () => assert.deepEqual(changes, [null]));
  await form.getByLabel('Key', { exact: true }).fill(KEY);
  await form.getByRole('button', { name: 'Save' }).click();
  await eventually(async () => assert.deepEqual(changes, [null, KEY]));
  await eventually(async () => assert.equal(await form.getByLabel('Key', { exact: true }).inputValue(), ''));
  await form.getByLabel('Remove the key').check();
  await form.getByRole('button', { name: 'Save' }).click();
  await eventually(async () => assert.deepEqual(changes, [null, KEY, '']));
  await form.getByText('Not set.').waitFor();
});

test('what is typed while an answer is on its way stays, and an answer to something else is not shown', async () => {
  const { page } = at;
  let stored = { provider: 'openai', url: 'https://a.example/v1', model: 'm', keySet: false, changed: null, canChange: true, why: null };
  const held = [];
  const answer = (json) => new Promise((resolve) => held.push(() => resolve(json())));
  await page.route('**/api/v1/settings/ai', async (route) => {
    if (route.request().method() === 'GET') return route.fulfill({ json: stored });
    const { key, ...rest } = route.request().postDataJSON();
    await route.fulfill({ json: await answer(() => (stored = { ...stored, ...rest, keySet: key !== null })) });
  });
  await page.route('**/api/v1/settings/ai/try', async (route) => {
    await route.fulfill({ json: await answer(() => ({ models: ['old'], reply: 'an old answer', error: null })) });
  });
  await enter(at);
  await page.getByRole('link', { name: 'Settings' }).click();
  const form = page.getByRole('form', { name: 'AI provider' });
  const model = form.getByLabel('Model');
  const next = () => eventually(() => assert.ok(held.length > 0)).then(() => held.shift()());
  await eventually(async () => assert.equal(await model.inputValue(), 'm'));

  await form.getByRole('button', { name: 'Try' }).click();
  await model.fill('another');
  await next();
  await form.getByRole('button', { name: 'Try', exact: true }).waitFor();
  assert.equal(await form.getByText('an old answer').count(), 0);

  await form.getByRole('button', { name: 'Save' }).click();
  await model.fill('a third');
  await next();
  await page.getByText('Saved the settings.').waitFor();
  assert.equal(await model.inputValue(), 'a third');
});

test('without a provider the assistant says where one is set', async () => {
  const kip = await Kip.start({ 'hello.js': HELLO });
  after(() => kip.stop());
  const { page } = at;
  await openFunction({ ...at, kip }, 'hello');
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  const panel = page.getByRole('complementary', { name: 'AI assistant' });
  await panel.getByText('--ai-provider').waitFor();
  assert.ok(await panel.getByLabel('Message to the assistant').isDisabled());
  await panel.getByRole('link', { name: 'Settings' }).click();
  await page.getByRole('form', { name: 'AI provider' }).getByText('Not set.').waitFor();
});
