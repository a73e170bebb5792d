/**
 * The pictures of the documentation. `KIPPER_PICTURES=../docs npm run test:browser` writes them anew; otherwise
 * they go to a temporary folder, so that what the documentation shows can still be made.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { enter, openFunction, openSection, suite } from './harness.mjs';

const EXAMPLES = new URL('../../../../deploy/examples/', import.meta.url);
const files = {};
for (const name of ['hello.js', 'hello-python.py', 'heartbeat.yaml', 'slugify.yaml', 'word-count.yaml']) {
  files[name] = await readFile(new URL(name, EXAMPLES), 'utf8');
}
const at = suite(files, { context: { viewport: { width: 1200, height: 760 }, colorScheme: 'light', reducedMotion: 'reduce' } });

let folder = process.env.KIPPER_PICTURES;
before(async () => {
  folder ??= await mkdtemp(join(tmpdir(), 'kipper-pictures-'));
});
after(async () => {
  if (!process.env.KIPPER_PICTURES) await rm(folder, { recursive: true, force: true });
});

async function picture(name) {
  const path = join(folder, `${name}.png`);
  await at.page.screenshot({ path, animations: 'disabled', caret: 'hide' });
  assert.ok((await stat(path)).size > 10_000);
}

test('the list', async () => {
  await fetch(`${at.kip.functions}/hello/`);
  await enter(at);
  await at.page.getByRole('row', { name: /hello/ }).getByText('Running').first().waitFor();
  await picture('list');
});

test('a function with its code, its trigger and a request to it', async () => {
  await openFunction(at, 'hello');
  await openSection(at.page, 'request');
  await at.page.locator('#request-body').getByRole('button', { name: 'Send' }).click();
  await at.page.locator('#request-body').getByText('200').first().waitFor();
  await at.page.evaluate(() => window.scrollTo(0, 0));
  await picture('function');
  await at.page.locator('#request').scrollIntoViewIfNeeded();
  await picture('request');
});
