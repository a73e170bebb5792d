import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, codeOf, enter, HELLO, manifest, openFunction, openSection, save, setCode, suite } from './harness.mjs';

const at = suite({
  'hello.js': HELLO,
  'greet.py': 'def handler(event, context=None):\n    return {"message": "hello from python"}\n',
  'beat.yaml': manifest('beat', {
    runtime: 'node',
    source: { code: 'module.exports = async () => { console.log("beat"); };\n' },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }],
  }),
});

test('the list shows every function with its trigger and URL, and opens one', async () => {
  await enter(at);
  const { page } = at;
  for (const name of ['beat', 'greet', 'hello']) await page.getByRole('link', { name, exact: true }).waitFor();
  await page.getByText('0 2 * * *').waitFor();
  const url = await page.getByRole('row', { name: /hello/ }).getByRole('link', { name: /http/ }).getAttribute('href');
  assert.match(url ?? '', /_fn\/hello\//);
  await page.getByRole('link', { name: 'hello', exact: true }).click();
  await page.locator('.cm-content').waitFor();
  assert.match(page.url(), /\/ns\/[^/]+\/hello$/);
  assert.equal(await codeOf(page), HELLO);
});

test('saved code is what the function answers with, and nothing is unsaved afterwards', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  await setCode(page, HELLO.replace('Hello', 'Good morning'));
  await page.getByText('Unsaved changes').first().waitFor();
  await save(page);
  await answer(at, 'hello', (text) => text.includes('Good morning, world!'));
  assert.equal(await page.getByText('Unsaved changes').count(), 0);
  // Leaving asks nothing.
  await page.getByRole('link', { name: 'All functions' }).click();
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
});

test('editing never brings the start code back', async () => {
  await openFunction(at, 'greet');
  const { page } = at;
  const before = await codeOf(page);
  await page.getByLabel('Runtime', { exact: true }).selectOption('node');
  assert.equal(await codeOf(page), before);
  await page.getByLabel('Runtime', { exact: true }).selectOption('python');
  assert.equal(await codeOf(page), before);
  assert.equal(await page.getByText('Unsaved changes').count(), 0);
});

/** As the product's page prints them. */
const HANDLERS = {
  'Node 22': `module.exports = async (event, context) => {
  console.log('Processing:', event)
  return {
    statusCode: 200,
    headers: { 'Content-Type': 'application/json' },
    body: { processed: true, timestamp: new Date().toISOString() }
  }
}
`,
  'Python 3.12': `def handler(event, context=None):
    print('Processing:', event)
    return {'processed': True}
`,
};

for (const [runtime, code] of Object.entries(HANDLERS)) {
  test(`the handler of the product's page for ${runtime}, typed and saved, answers and logs`, async () => {
    const name = `page-${runtime.split(' ')[0].toLowerCase()}`;
    await enter(at, '/new');
    const { page } = at;
    await page.getByLabel('Name', { exact: true }).first().fill(name);
    await page.getByText(`/_fn/${name}/`).first().waitFor();
    await page.getByRole('radio', { name: runtime }).click();
    const problem = page.getByRole('region', { name: 'Problems in the code' }).getByText('No handler:', { exact: false });
    await setCode(page, 'pass');
    await problem.waitFor();
    await setCode(page, code);
    await problem.waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Save & deploy', exact: true }).click();
    await page.waitForURL(new RegExp(`/${name}$`));
    // HTTP is what a function is invoked by unless something else is chosen.
    await page.locator('#trigger').getByRole('link', { name: new RegExp(`/_fn/${name}/`) }).waitFor();
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"order":42}' };
    await answer(at, name, (text, response) => response.status === 200 && JSON.parse(text).processed === true, init);
    await openSection(page, 'logs');
    await page.getByTestId('log-lines').getByText(/Processing:.*order.*42/).first().waitFor();
  });
}

test('a new function is created in one go, and the page is its own then', async () => {
  await enter(at, '/new');
  const { page } = at;
  await page.getByLabel('Name', { exact: true }).first().fill('fresh');
  await page.locator('.cm-content').waitFor();
  await setCode(page, 'module.exports = async () => ({ fresh: process.env.GREETING });\n');
  await openSection(page, 'environment');
  await page.getByRole('button', { name: 'Add variable' }).click();
  await page.locator('#environment').getByLabel('Name').fill('GREETING');
  await page.locator('#environment').getByLabel('Value of GREETING').fill('hi');
  await page.keyboard.press('ControlOrMeta+s');
  await page.waitForURL(/\/ns\/[^/]+\/fresh/);
  await answer(at, 'fresh', (text) => text.includes('"fresh":"hi"'));
});

test('creating never overwrites', async () => {
  at.allowed.push(/409/);
  await enter(at, '/new');
  const { page } = at;
  await page.getByLabel('Name', { exact: true }).first().fill('hello');
  await page.getByRole('button', { name: 'Save & deploy', exact: true }).click();
  // In the words of the check, or, where that is not back yet, of the save.
  await page.getByText(/function (of|with) this name/).first().waitFor();
});

test('a deep link opens its section', async () => {
  await openFunction(at, 'beat');
  const { page } = at;
  await page.goto(`${page.url().split('#')[0]}#settings`);
  await page.reload();
  await page.locator('#settings-button[aria-expanded=true]').waitFor();
});
