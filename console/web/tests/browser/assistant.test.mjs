import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { codeOf, enter, eventually, figure, HELLO, manifest, openFunction, openSection, setCode, suite } from './harness.mjs';
import { Provider } from './provider.mjs';

/** Values that must never be sent. */
const ENV = 'canary-env-77aa01';
const SECRET = 'canary-secret-77aa02';
const KEY = 'canary-key-77aa03';

const provider = await Provider.start();
after(() => provider.stop());

const PYTHON = 'def handler(event, context=None):\n    return {}\n';
const files = {
  'hello.yaml': manifest('hello', { runtime: 'node', source: { code: HELLO, dependencies: { pg: '8.11.5' } }, env: { OPENSRS_HOST: ENV, REGION: 'eu' } }),
  'other.js': HELLO,
  'moved.js': HELLO,
  'snake.py': PYTHON,
  'folder.yaml': manifest('folder', { runtime: 'node', source: { files: { 'index.js': HELLO, 'lib/a.js': 'module.exports = 1;\n', 'notes.md': '# a\n' } } }),
  'bound.yaml': manifest('bound', { runtime: 'node', source: { code: HELLO }, serviceBindings: [{ name: 'eventdb' }] }),
};
const at = suite(files, provider.options(KEY));

const panelOf = (page) => page.getByRole('complementary', { name: 'AI assistant' });
const inputOf = (page) => page.getByLabel('Message to the assistant');
const answers = (page) => panelOf(page).getByRole('article', { name: 'Assistant' });
const isFocused = (locator) => locator.evaluate((element) => element === document.activeElement);
const fence = (language, text) => `\`\`\`${language}\n${text}\`\`\`\n`;

async function openAssistant(name, page = at.page) {
  await openFunction(at, name, page);
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  await inputOf(page).waitFor();
  return page;
}

/** Sends a message; what the provider is asked is for the test to answer. */
async function say(page, text) {
  await inputOf(page).fill(text);
  await inputOf(page).press('Enter');
  return provider.next();
}

/** The same, with an answer; resolved when the page has all of it. */
async function discuss(page, answer, text = 'Write it') {
  const asked = await say(page, text);
  asked.answer(answer);
  await page.getByRole('button', { name: 'Retry' }).waitFor();
  return asked;
}

/** Chooses files as the dialog of the browser would. */
const choose = (page, chosen) => panelOf(page).locator('input[type=file]').setInputFiles(chosen.map(([name, content]) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(content) })));
const chips = (page) => panelOf(page).getByRole('form', { name: 'Question' }).getByRole('list', { name: 'Attached files' }).getByRole('listitem');
const refusals = (page) => panelOf(page).locator('form .problem');

// What the assistant sees

test('AI Assistant opens a panel beside the editor, in which Kipper tells what the model sees', async () => {
  const page = await openAssistant('hello');
  assert.ok(await isFocused(inputOf(page)));
  const editor = await page.getByTestId('editor').boundingBox();
  const panel = await panelOf(page).boundingBox();
  assert.ok(panel.x >= editor.x + editor.width - 1, 'it stands beside the editor');
  const knows = panelOf(page).locator('details');
  for (const words of ['Node 22', 'OPENSRS_HOST', 'REGION', 'pg@8.11.5', 'index.js']) await knows.getByText(words).waitFor();
  const asked = await say(page, 'Hello');
  asked.answer('Hi.');
  for (const words of ['Node 22', 'OPENSRS_HOST', 'REGION', 'pg@8.11.5', HELLO]) assert.ok(asked.text.includes(words), words);
  await knows.getByText('Kipper knows').click();
  assert.equal(await knows.getByText('OPENSRS_HOST').isVisible(), false);
});

test('what is typed into the form is known at once, without a save', async () => {
  const page = await openAssistant('snake');
  const knows = panelOf(page).locator('details');
  await knows.getByText('Python 3.12').waitFor();
  await openSection(page, 'environment');
  await page.locator('#environment').getByRole('button', { name: 'Add variable' }).click();
  await page.keyboard.type('FRESH_NAME');
  await knows.getByText('FRESH_NAME').waitFor();
  await openSection(page, 'dependencies');
  await page.locator('#dependencies').getByRole('button', { name: 'Add package' }).click();
  await page.keyboard.type('requests==2.32.3');
  await page.keyboard.press('Tab');
  await knows.getByText('requests@2.32.3').waitFor();
  await setCode(page, `${PYTHON}# not saved\n`);
  const asked = await say(page, 'Hello');
  asked.answer('Hi.');
  assert.match(asked.text, /# not saved/);
});

test('a binding is told with the names that it injects', async () => {
  const { page } = at;
  // The services of a namespace need a cluster; the names are the server's own.
  await page.route('**/api/v1/meta', async (route) => {
    const response = await route.fetch();
    const meta = await response.json();
    await route.fulfill({ response, json: { ...meta, can: { ...meta.can, services: true, bindings: true } } });
  });
  await page.route('**/ns/*/services', (route) => route.fulfill({ json: { items: [{ name: 'eventdb', kind: 'postgres', problem: null }] } }));
  await openAssistant('bound');
  const line = 'eventdb (postgres) → DB_HOST DB_PORT DB_USER DB_PASSWORD DB_NAME';
  await panelOf(page).locator('details').getByText(line).waitFor();
  const asked = await say(page, 'Hello');
  asked.answer('Hi.');
  assert.ok(asked.text.includes(line));
});

test('values of variables and secrets are in nothing that is sent', async () => {
  const { page } = at;
  const sent = [];
  page.on('request', (request) => {
    if (request.url().includes('/assistant')) sent.push(request.postData() ?? '');
  });
  const first = provider.received.length;
  await openAssistant('hello');
  await openSection(page, 'secrets');
  await page.locator('#secrets').getByRole('button', { name: 'Add secret' }).click();
  await page.keyboard.type('OPENSRS_API_KEY');
  await page.keyboard.press('Tab');
  await page.keyboard.type(SECRET);
  assert.ok(await page.locator('#secrets').locator('input, textarea').evaluateAll((all, value) => all.some((one) => one.value === value), SECRET));
  await panelOf(page).locator('details').getByText('OPENSRS_API_KEY').waitFor();
  await discuss(page, fence('js', HELLO));
  await page.getByRole('button', { name: 'Retry' }).click();
  (await provider.next()).answer('Again.');
  await answers(page).getByText('Again.').waitFor();
  const stored = await page.evaluate(() => JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)]));
  const all = [...sent, stored, ...provider.received.slice(first).map((text) => text.replaceAll(`Bearer ${KEY}`, ''))];
  assert.ok(sent.length >= 3, `${sent.length} requests`);
  assert.ok(all.some((text) => text.includes('OPENSRS_API_KEY')), 'the name is sent');
  const found = all.filter((text) => [ENV, SECRET, KEY].some((canary) => text.includes(canary)));
  assert.ok(figure('console_assistant_canaries', found.length, 'count', '==', 0));
});

// What comes back

test('Markdown of a stranger is shown as words: no markup, no images, links with their host', async () => {
  const page = await openAssistant('other');
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  await discuss(page, [
    '# Title', '<script>window.ran = true</script>', '<img src="https://evil.example/a.png" onerror="window.ran = true">',
    '![a cat](https://evil.example/b.png)', '[good.example](https://evil.example/c)', '[click](javascript:window.ran=true)',
    '> a quote with `code`', '| a | b |\n|---|---|\n| 1 | 2 |', `- item\n\n  ${fence('sh', '  ls\n  ')}`, '**bold** &lt;b&gt;',
  ].join('\n\n'));
  const answer = answers(page).first();
  for (const words of ['<script>window.ran = true</script>', '[image: a cat, evil.example]', '(evil.example)', '<b>']) await answer.getByText(words, { exact: false }).first().waitFor();
  assert.equal(await answer.locator('img, script, iframe, svg[onload]').count(), 0);
  const links = await answer.locator('a').evaluateAll((all) => all.map((link) => [link.textContent, link.href, link.target, link.rel]));
  assert.deepEqual(links, [['good.example', 'https://evil.example/c', '_blank', 'noopener noreferrer nofollow']]);
  await answer.locator('strong').getByText('bold').waitFor();
  await answer.locator('table').getByText('2').waitFor();
  assert.equal(await page.evaluate(() => window.ran), undefined);
  assert.deepEqual(requests.filter((url) => url.includes('evil.example')), []);
});

test('an answer is shown while it comes, and none of its code can be applied before its end', async () => {
  const page = await openAssistant('other');
  const asked = await say(page, 'Write it');
  asked.say('First ').say('words.\n\n```js\nconst whole = 1;\n```\n\n```js\nconst half');
  await answers(page).getByText('First words.').waitFor();
  await answers(page).getByText('const half').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Apply to editor' }).count(), 0);
  await panelOf(page).getByRole('status').getByText('The assistant is answering.').waitFor({ state: 'attached' });
  asked.say(' = 2;').end();
  await page.getByRole('button', { name: 'Retry' }).waitFor();
  await panelOf(page).getByRole('status').getByText('The answer has ended.').waitFor({ state: 'attached' });
  // The second block has no closing fence.
  assert.equal(await page.getByRole('button', { name: 'Apply to editor' }).count(), 1);
  assert.equal(await page.getByRole('button', { name: 'Copy this code' }).count(), 2);
});

test('a fence around a fence is one block', async () => {
  const page = await openAssistant('other');
  await discuss(page, '````md\n```js\nx\n```\n````\n\n~~~js\nconst a = `\n```\n`;\n~~~\n');
  const blocks = answers(page).locator('pre');
  assert.deepEqual(await blocks.allTextContents(), ['```js\nx\n```', 'const a = `\n```\n`;']);
  assert.equal(await page.getByRole('button', { name: 'Apply to editor' }).count(), 1);
});

test('code and messages can be copied', async () => {
  const page = await openAssistant('other');
  await discuss(page, `Look:\n\n${fence('bash', 'npm i pg\n')}`);
  assert.equal(await page.getByRole('button', { name: 'Apply to editor' }).count(), 0, 'another language is not for the editor');
  await page.getByRole('button', { name: 'Copy this code' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'npm i pg\n');
  await answers(page).getByRole('button', { name: 'Copy this message' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `Look:\n\n${fence('bash', 'npm i pg\n')}`);
});

// Apply

test('Apply shows what it changes, leaves out what one does not want, and is undone in one step', async () => {
  const page = await openAssistant('other');
  await setCode(page, HELLO);
  const next = `// first\n${HELLO.replace('Hello', 'Hi')}`;
  await discuss(page, fence('js', next));
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  const dialog = page.getByRole('dialog', { name: 'Apply to index.js?' });
  await dialog.locator('.cm-deletedLine').getByText('Hello').waitFor();
  await dialog.getByRole('button', { name: 'Leave this out' }).first().click();
  await dialog.getByText('// first').waitFor({ state: 'detached' });
  assert.equal(await codeOf(page).then((code) => code.startsWith(HELLO.trim())), true, 'nothing has happened yet');
  await dialog.getByRole('button', { name: 'Apply', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  await eventually(async () => assert.equal(await codeOf(page), HELLO.replace('Hello', 'Hi')));
  await eventually(async () => assert.ok(await isFocused(page.locator('#code-body .cm-content'))));
  await page.keyboard.press('ControlOrMeta+z');
  assert.equal(await codeOf(page), HELLO);
});

test('a cancelled Apply changes nothing', async () => {
  const page = await openAssistant('other');
  await discuss(page, fence('js', '// other\n'));
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await codeOf(page), HELLO);
  assert.ok(await panelOf(page).isVisible(), 'Escape was the dialog’s');
  assert.ok(await isFocused(page.getByRole('button', { name: 'Apply to editor' })));
});

test('a file that changes while Apply is open is compared again, and nothing of the change is lost', async () => {
  const page = await openAssistant('moved');
  const next = `// first\n${HELLO}`;
  await discuss(page, fence('js', next));
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  const dialog = page.getByRole('dialog', { name: 'Apply to index.js?' });
  await dialog.getByText('// first').waitFor();
  await at.kip.write('moved.js', `${HELLO}// elsewhere\n`);
  await dialog.getByText('The file was changed while this was open').waitFor();
  await dialog.locator('.cm-deletedLine').getByText('// elsewhere').waitFor();
  assert.equal(await dialog.locator('.cm-editor').count(), 1, 'the one before is gone');
  await dialog.locator('.cm-deletedChunk').filter({ hasText: '// elsewhere' }).getByRole('button', { name: 'Leave this out' }).click();
  await dialog.getByRole('button', { name: 'Apply', exact: true }).click();
  await eventually(async () => assert.equal(await codeOf(page), `${next}// elsewhere\n`));
});

test('a block that leaves the rest out is warned about, before and in the dialog', async () => {
  const page = await openAssistant('other');
  await discuss(page, fence('js', 'const pg = 1;\n// ... rest of the code unchanged\n'));
  await answers(page).getByText('This is only a part of the file').waitFor();
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  await page.getByRole('dialog').getByText('the part is deleted').waitFor();
});

test('code goes to the file that is shown, else to the handler’s', async () => {
  const page = await openAssistant('folder');
  await page.getByRole('tab', { name: 'lib/a.js' }).click();
  await discuss(page, fence('js', 'module.exports = 2;\n'));
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  await page.getByRole('dialog', { name: 'Apply to lib/a.js?' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('tab', { name: 'notes.md' }).click();
  await page.getByRole('button', { name: 'Apply to editor' }).click();
  const dialog = page.getByRole('dialog', { name: 'Apply to index.js?' });
  await dialog.getByRole('button', { name: 'Apply', exact: true }).click();
  await eventually(async () => assert.equal(await codeOf(page), 'module.exports = 2;\n'));
});

test('+ pkg adds a package that is not declared, opens Dependencies at its version, and a save asks for one', async () => {
  const page = await openAssistant('hello');
  await discuss(page, fence('js', 'const fs = require("fs");\nconst pg = require("pg");\nconst axios = require("axios");\nmodule.exports = async () => ({});\n'));
  const add = answers(page).getByRole('button', { name: /^\+ / });
  await add.waitFor();
  assert.equal(await add.count(), 1, 'neither what is declared nor what Node has');
  await page.locator('#dependencies-button').click();
  await add.click();
  const version = page.getByLabel('Version of axios');
  await eventually(async () => assert.ok(await isFocused(version)));
  assert.equal(await version.inputValue(), '');
  await add.waitFor({ state: 'detached' });
  await page.keyboard.press('ControlOrMeta+s');
  await page.locator('#dependencies').getByText('Give this package a version.').waitFor();
  await version.fill('1.6.7');
  await page.locator('#dependencies').getByText('Give this package a version.').waitFor({ state: 'detached' });
});

// When it does not go well

test('Stop closes the question at once and keeps what was said', async () => {
  const page = await openAssistant('other');
  const asked = await say(page, 'Write it');
  asked.say(`Words.\n\n${fence('js', HELLO)}`);
  await answers(page).getByText('Words.').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await asked.closed;
  await answers(page).getByText('You stopped this answer.').waitFor();
  assert.ok(await isFocused(inputOf(page)));
  const again = await say(page, 'Go on');
  again.answer('More.');
  await answers(page).getByText('More.').waitFor();
  assert.ok(again.text.includes('Words.'));
});

test('leaving the page closes the question', async () => {
  const page = await openAssistant('other');
  const asked = await say(page, 'Write it');
  asked.say('Words.');
  await answers(page).getByText('Words.').waitFor();
  await page.getByRole('link', { name: 'All functions' }).click();
  await asked.closed;
});

test('errors are said in the server’s words, and Retry asks again', async () => {
  const page = await openAssistant('other');
  const failure = answers(page).locator('.notice.bad');
  (await say(page, 'Write it')).refuse(401, 'Incorrect API key');
  await failure.getByText(/key/).waitFor();
  await page.getByRole('button', { name: 'Retry' }).click();
  (await provider.next()).refuse(429, 'Rate limit', { 'retry-after': '7' });
  await failure.getByText(/7/).waitFor();
  await page.getByRole('button', { name: 'Retry' }).click();
  const asked = await provider.next();
  assert.equal(asked.body.messages.filter(({ role }) => role === 'user').length, 1);
  asked.answer('At last.');
  await answers(page).getByText('At last.').waitFor();
  assert.equal(await answers(page).count(), 1);
});

test('an answer that ends too early was cut off, and nothing of it is applied', async () => {
  const page = await openAssistant('other');
  const asked = await say(page, 'Write it');
  asked.say(fence('js', HELLO)).cut();
  await answers(page).locator('.notice.bad').getByText(/cut off|before it was complete/i).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Apply to editor' }).count(), 0);
  assert.equal(await page.getByRole('button', { name: 'Copy this code' }).count(), 1);
});

test('a longest output and a refusal are said', async () => {
  const page = await openAssistant('other');
  (await say(page, 'Write much')).say('Half of').end('length');
  await answers(page).getByText('the model reached its longest output').waitFor();
  (await say(page, 'Write evil')).say('No.').end('content_filter');
  await answers(page).getByText('The model refused').waitFor();
});

test('a console that is gone is said, and the question is not lost', async () => {
  at.allowed.push(/net::ERR|Failed to load/);
  const page = await openAssistant('other');
  await page.route('**/api/v1/assistant', (route) => route.abort());
  await inputOf(page).fill('Write it');
  await page.keyboard.press('Enter');
  await answers(page).getByText('cannot be reached').waitFor();
  await page.unroute('**/api/v1/assistant');
  await page.getByRole('button', { name: 'Retry' }).click();
  (await provider.next()).answer('At last.');
  await answers(page).getByText('At last.').waitFor();
});

// Attached files

test('files are attached, shown, removed, sent, and stay as chips on the message', async () => {
  const page = await openAssistant('snake');
  await choose(page, [['Service.java', 'class Service {}'], ['pom.xml', '<project/>'], ['extra.md', 'x']]);
  assert.deepEqual((await chips(page).allTextContents()).map((text) => text.replace(/\s+/g, ' ').trim()), ['Service.java 0.1 KiB', 'pom.xml 0.1 KiB', 'extra.md 0.1 KiB']);
  await page.getByRole('button', { name: 'Remove extra.md' }).click();
  assert.ok(await isFocused(inputOf(page)));
  const asked = await say(page, 'Convert this to a Python serverless function');
  assert.ok(asked.text.includes('class Service {}') && asked.text.includes('<project/>') && asked.text.includes('Service.java'));
  assert.ok(!asked.text.includes('extra.md'));
  asked.answer('Done.');
  assert.equal(await chips(page).count(), 0);
  const bubble = panelOf(page).getByRole('article', { name: 'You' });
  await bubble.getByText('Service.java').waitFor();
  assert.equal(await bubble.getByText('class Service').count(), 0);
  await answers(page).getByText('Done.').waitFor();
  // A second question is about the same files.
  const second = await say(page, 'And now with types');
  assert.ok(second.text.includes('class Service {}'));
  second.answer('Done.');
});

test('files are dropped onto the input', async () => {
  const page = await openAssistant('snake');
  const transfer = await page.evaluateHandle(() => {
    const data = new DataTransfer();
    data.items.add(new File(['select 1'], 'query.sql'));
    return data;
  });
  const target = panelOf(page).getByRole('form', { name: 'Question' });
  await target.dispatchEvent('dragover', { dataTransfer: transfer });
  await target.dispatchEvent('drop', { dataTransfer: transfer });
  await chips(page).getByText('query.sql').waitFor();
});

test('what cannot be attached is refused in words, each file by itself', async () => {
  const page = await openAssistant('snake');
  const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13]);
  await choose(page, [
    ['good.js', 'x'], ['picture.png', png], ['script.js', png], ['wide.py', Buffer.from('\ufeffimport os', 'utf16le')], ['nul.txt', 'a\0b'], ['.env', `A=${SECRET}`],
    ['tls.pem', 'x'], ['notes.txt', '-----BEGIN RSA PRIVATE KEY-----\nx'], ['paper.pdf', '%PDF'],
  ]);
  await chips(page).getByText('good.js').waitFor();
  assert.equal(await chips(page).count(), 1);
  assert.deepEqual(await refusals(page).allTextContents(), [
    'picture.png is not attached: only source code and other text can be attached.',
    'script.js is not attached: it is not text in UTF-8.',
    'wide.py is not attached: it is not text in UTF-8.',
    'nul.txt is not attached: it is not text in UTF-8.',
    '.env is not attached: files of this kind hold secrets.',
    'tls.pem is not attached: files of this kind hold secrets.',
    'notes.txt is not attached: it has a private key in it.',
    'paper.pdf is not attached: only source code and other text can be attached.',
  ]);
});

test('20 files, 256 KiB and 1 MiB exactly are sent; one more of each is not', async () => {
  const page = await openAssistant('snake');
  await choose(page, [['big.txt', 'x'.repeat(256 * 1024 + 1)]]);
  await refusals(page).getByText('it has 256.1 KiB, and a file may have 256 KiB').waitFor();
  const sizes = [256 * 1024, 256 * 1024, 256 * 1024, 256 * 1024 - 16, ...Array(16).fill(1)];
  await choose(page, sizes.map((size, index) => [`f${index}.txt`, 'x'.repeat(size)]));
  await eventually(async () => assert.equal(await chips(page).count(), 20));
  assert.equal(await refusals(page).count(), 0);
  await choose(page, [['one-more.txt', 'x']]);
  await refusals(page).getByText('one-more.txt is not attached: a message may have 20 files.').waitFor();
  await page.getByRole('button', { name: 'Remove f19.txt' }).click();
  await choose(page, [['two.txt', 'xx']]);
  await refusals(page).getByText('the files of a message may have 1 MiB together').waitFor();
  await choose(page, [['one.txt', 'x']]);
  await eventually(async () => assert.equal(await chips(page).count(), 20));
  const asked = await say(page, 'Look at these');
  assert.ok(asked.text.length > 1024 * 1024);
  asked.answer('Seen.');
  await answers(page).getByText('Seen.').waitFor();
});

test('tokens are estimated, warned about from 100,000, and replaced by the provider’s count', async () => {
  const page = await openAssistant('snake');
  const form = panelOf(page).getByRole('form', { name: 'Question' });
  await choose(page, [['words.txt', 'word '.repeat(5000)]]);
  await form.getByText(/^About 5,\d\d\d tokens$/).waitFor();
  await choose(page, [['many.txt', 'word '.repeat(50_000)], ['more.txt', 'word '.repeat(50_000)]]);
  await form.getByText(/^About 1\d\d,\d\d\d tokens\. Remove attachments/).waitFor();
  await page.getByRole('button', { name: 'Remove many.txt' }).click();
  await page.getByRole('button', { name: 'Remove more.txt' }).click();
  await discuss(page, 'Hi.');
  await form.getByText('1,234 tokens sent, 56 received').waitFor();
});

// The conversation

test('a conversation outlasts a reload, is the function’s own, and can be deleted', async () => {
  const page = await openAssistant('other');
  await choose(page, [['notes.md', 'canary-of-a-file']]);
  await discuss(page, 'An answer to keep.', 'A question to keep');
  await page.reload();
  await page.locator('#code-body .cm-content').waitFor();
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  await panelOf(page).getByText('A question to keep').waitFor();
  await answers(page).getByText('An answer to keep.').waitFor();
  await panelOf(page).getByText('notes.md').waitFor();
  assert.ok(!(await page.evaluate(() => JSON.stringify(Object.entries(localStorage)))).includes('canary-of-a-file'));
  await openAssistant('hello');
  assert.equal(await panelOf(page).getByText('A question to keep').count(), 0);
  await openAssistant('other');
  await page.getByRole('button', { name: 'New conversation' }).click();
  await panelOf(page).getByText('A question to keep').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Undo' }).click();
  await panelOf(page).getByText('A question to keep').waitFor();
  await page.getByRole('button', { name: 'New conversation' }).click();
  assert.equal(await page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('kipper.assistant:')).length), 0);
});

test('what was said before is sent with the next question', async () => {
  const page = await openAssistant('other');
  await discuss(page, 'First answer.', 'First question');
  const asked = await say(page, 'Second question');
  asked.answer('Second answer.');
  assert.match(asked.text, /First question[\s\S]*First answer\.[\s\S]*Second question/);
  await answers(page).getByText('Second answer.').waitFor();
});

test('a new function takes its conversation along when it is created', async () => {
  await enter(at, '/new');
  const { page } = at;
  await page.locator('#code-body .cm-content').waitFor();
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  await inputOf(page).waitFor();
  await discuss(page, 'An answer.', 'A question about something new');
  await page.getByRole('textbox', { name: 'Name' }).first().fill('brand-new');
  await page.keyboard.press('ControlOrMeta+s');
  await page.waitForURL(/\/brand-new/);
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  await panelOf(page).getByText('A question about something new').waitFor();
  await enter(at, '/new');
  await page.getByRole('button', { name: 'AI Assistant' }).click();
  await inputOf(page).waitFor();
  assert.equal(await panelOf(page).getByText('A question about something new').count(), 0);
});

// By hand

test('by keyboard alone: ask, stop, apply, add a package, close', async () => {
  await openFunction(at, 'other');
  const { page } = at;
  await page.getByRole('button', { name: 'AI Assistant' }).focus();
  await page.keyboard.press('Enter');
  await inputOf(page).waitFor();
  await eventually(async () => assert.ok(await isFocused(inputOf(page))));
  await page.keyboard.type('one');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('two');
  assert.equal(await inputOf(page).inputValue(), 'one\ntwo');
  await page.keyboard.press('Enter');
  const asked = await provider.next();
  assert.ok(asked.text.includes('one\ntwo'));
  asked.say('Words.');
  await answers(page).getByText('Words.').waitFor();
  await page.keyboard.press('Escape');
  await asked.closed;
  await answers(page).getByText('You stopped this answer.').waitFor();
  assert.ok(await panelOf(page).isVisible(), 'the first Escape only stops');
  await page.keyboard.type('again');
  await page.keyboard.press('Enter');
  (await provider.next()).answer(fence('js', HELLO.replace('Hello', 'Hi')));
  await page.getByRole('button', { name: 'Retry' }).waitFor();
  const apply = page.getByRole('button', { name: 'Apply to editor' });
  for (let presses = 0; presses < 30 && !(await isFocused(apply)); presses += 1) await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  const accept = page.getByRole('dialog').getByRole('button', { name: 'Apply', exact: true });
  await accept.and(page.locator(':enabled')).waitFor();
  for (let presses = 0; presses < 20 && !(await isFocused(accept)); presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.match(await codeOf(page), /Hi, /));
  await inputOf(page).focus();
  await page.keyboard.press('Escape');
  await panelOf(page).waitFor({ state: 'hidden' });
  assert.ok(await isFocused(page.getByRole('button', { name: 'AI Assistant' })));
});

test('the divider moves by keys and by hand, and stays where it was', async () => {
  const page = await openAssistant('other');
  const divider = page.getByRole('separator', { name: 'Width of the editor' });
  const value = async () => Number(await divider.getAttribute('aria-valuenow'));
  const width = async () => (await panelOf(page).boundingBox()).width;
  const [first, before] = [await value(), await width()];
  await divider.focus();
  await page.keyboard.press('ArrowLeft');
  assert.equal(await value(), first - 2);
  assert.ok((await width()) > before);
  await page.keyboard.press('Home');
  assert.equal(await value(), Number(await divider.getAttribute('aria-valuemin')));
  await page.keyboard.press('End');
  assert.equal(await value(), Number(await divider.getAttribute('aria-valuemax')));
  const frame = await page.locator('.beside').boundingBox();
  const handle = await divider.boundingBox();
  await page.mouse.move(handle.x + handle.width / 2, handle.y + 40);
  await page.mouse.down();
  await page.mouse.move(frame.x + frame.width / 2, handle.y + 60, { steps: 4 });
  await page.mouse.up();
  assert.equal(await value(), 50);
  await openAssistant('hello');
  assert.equal(await value(), 50);
  await page.setViewportSize({ width: 880, height: 900 });
  assert.equal(await divider.isVisible(), false);
  const editor = await page.getByTestId('editor').boundingBox();
  assert.ok((await panelOf(page).boundingBox()).y >= editor.y + editor.height - 1, 'it stands below the editor');
});
