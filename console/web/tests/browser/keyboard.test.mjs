import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyboard, reach } from './hands.mjs';
import { codeOf, enter, eventually, HELLO, openFunction, suite } from './harness.mjs';

const at = suite({ 'hello.js': HELLO });

test('a cron function is created, saved, run and read with the keyboard alone', async () => {
  await enter(at);
  const { page } = at;
  await keyboard.press(page.getByRole('link', { name: 'New function' }));
  await page.locator('.cm-content').waitFor();
  await keyboard.type(page.getByLabel('Name', { exact: true }), 'by-keyboard');
  await keyboard.code(page, 'module.exports = async () => { console.log("ran without a mouse"); };\n');
  await keyboard.choose(page.getByRole('radio', { name: 'Cron' }));
  await keyboard.type(page.getByRole('textbox', { name: 'Schedule' }), '0 2 * * *');
  await keyboard.save(page);
  await page.waitForURL(/\/ns\/[^/]+\/by-keyboard/);
  await page.locator('.cm-content').waitFor();
  await eventually(async () => assert.match(await codeOf(page), /ran without a mouse/));
  await keyboard.press(page.getByRole('button', { name: 'Test run' }));
  await page.getByTestId('log-lines').getByText('ran without a mouse').first().waitFor({ timeout: 20_000 });
  await reach(page.getByRole('region', { name: 'Log lines' }));
  await page.keyboard.press('Home');
  await page.keyboard.press('End');
});

test('every section opens and closes with Enter, and the focus stays on its heading', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  const ids = await page.locator('section.section').evaluateAll((sections) => sections.map((section) => section.id));
  assert.ok(ids.length >= 12, ids.join(', '));
  for (const id of ids) {
    const button = page.locator(`#${id}-button`);
    const before = await button.getAttribute('aria-expanded');
    await button.focus();
    await page.keyboard.press('Enter');
    assert.notEqual(await button.getAttribute('aria-expanded'), before, id);
    assert.ok(await button.evaluate((element) => element === document.activeElement), id);
    assert.equal(await page.locator('summary button').count(), 0);
  }
});

test('the menu of more actions by keyboard', async () => {
  await openFunction(at, 'hello');
  const { page } = at;
  await page.getByRole('button', { name: 'More actions' }).focus();
  await page.keyboard.press('ArrowDown');
  await page.getByRole('menuitem', { name: /Show changes/ }).waitFor();
  const hasFocus = () => page.getByRole('button', { name: 'More actions' }).evaluate((element) => element === document.activeElement);
  await page.keyboard.press('Escape');
  assert.ok(await hasFocus());
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.ok(await hasFocus(), 'a dialog gives the focus back');
});
