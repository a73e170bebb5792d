import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf, enter, eventually, HELLO, openFunction, suite } from './harness.mjs';

const at = suite({ 'hello.js': HELLO });

/** Presses Tab until what has the focus fits, as somebody without a mouse does. */
async function tabTo(page, isThere, key = 'Tab') {
  for (let presses = 0; presses < 120; presses += 1) {
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      const label = element?.getAttribute('aria-label') ?? [...(element?.labels ?? [])].map((one) => one.textContent).join(' ');
      return { id: element?.id ?? '', text: element?.textContent?.trim().slice(0, 80) ?? '', label, tag: element?.tagName ?? '' };
    });
    if (isThere(focused)) return focused;
    // The editor keeps Tab for itself until Escape was pressed.
    if (/Code of/.test(focused.label ?? '')) await page.keyboard.press('Escape');
    await page.keyboard.press(key);
  }
  throw new Error('nothing like that can be reached with Tab');
}

const hasText = (text) => (focused) => /^(A|BUTTON)$/.test(focused.tag) && focused.text.includes(text);
const hasLabel = (label) => (focused) => (focused.label ?? '').includes(label);

test('a cron function is created, saved, run and read with the keyboard alone', async () => {
  await enter(at);
  const { page } = at;
  await tabTo(page, hasText('New function'));
  await page.keyboard.press('Enter');
  await page.locator('.cm-content').waitFor();
  await tabTo(page, hasLabel('Name'));
  await page.keyboard.type('by-keyboard');
  await tabTo(page, hasLabel('Code of'));
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText('module.exports = async () => { console.log("ran without a mouse"); };\n');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  await tabTo(page, hasLabel('HTTP'));
  await page.keyboard.press('ArrowRight');
  await tabTo(page, hasLabel('Schedule'));
  await page.keyboard.type('0 2 * * *');
  await page.keyboard.press('ControlOrMeta+s');
  await page.waitForURL(/\/ns\/[^/]+\/by-keyboard/);
  await page.locator('.cm-content').waitFor();
  await eventually(async () => assert.match(await codeOf(page), /ran without a mouse/));
  await tabTo(page, hasText('Test run'));
  await page.keyboard.press('Enter');
  await page.getByTestId('log-lines').getByText('ran without a mouse').first().waitFor({ timeout: 20_000 });
  await tabTo(page, hasLabel('Log lines'));
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
  await page.keyboard.press('Escape');
  assert.ok(await page.getByRole('button', { name: 'More actions' }).evaluate((element) => element === document.activeElement));
});
