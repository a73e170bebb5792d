/** Two ways to do the same on a page: by mouse, and without one. A locator says what, `hands` how. */
import assert from 'node:assert/strict';

/** More than the page has stops for Tab, so that a search for one ends. */
const MAX_STOPS = 160;

export const mouse = {
  name: 'mouse',
  press: (target) => target.click(),
  async type(target, text) {
    await target.click();
    await target.fill(text);
  },
  choose: (radio) => radio.click(),
  select: (select, label) => select.selectOption({ label }),
  async code(page, text) {
    await page.locator('.cm-content').click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText(text);
  },
  save: (page) => page.getByRole('button', { name: 'Save & deploy', exact: true }).click(),
};

const hasFocus = (target) => target.evaluate((element) => element === document.activeElement);

/** Presses Tab, in the direction in which it stands, until `target` has the focus. */
export async function reach(target) {
  await target.waitFor();
  const page = target.page();
  for (let presses = 0; presses < MAX_STOPS; presses += 1) {
    if (await hasFocus(target)) return;
    // The editor keeps Tab for itself until Escape was pressed.
    if (await page.evaluate(() => document.activeElement.closest('.cm-editor') !== null)) await page.keyboard.press('Escape');
    const isBefore = await target.evaluate((element) =>
      Boolean(document.activeElement.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_PRECEDING),
    );
    await page.keyboard.press(isBefore ? 'Shift+Tab' : 'Tab');
  }
  assert.fail(`Tab does not reach ${target}`);
}

export const keyboard = {
  name: 'keyboard',
  async press(target) {
    await reach(target);
    await target.page().keyboard.press('Enter');
  },
  async type(target, text) {
    await reach(target);
    await target.page().keyboard.press('ControlOrMeta+a');
    await target.page().keyboard.insertText(text);
  },
  /** Tab reaches the one of a group that is chosen, and arrows choose another. */
  async choose(radio) {
    const name = await radio.getAttribute('name');
    const page = radio.page();
    await reach(page.locator(`input[name="${name}"]:checked`));
    for (let presses = 0; !(await radio.isChecked()); presses += 1) {
      assert.ok(presses < 10, `arrows do not reach ${radio}`);
      await page.keyboard.press('ArrowRight');
    }
  },
  async select(select, label) {
    await reach(select);
    const chosen = () => select.evaluate((element) => element.selectedOptions[0].label);
    await select.page().keyboard.press('Home');
    for (let presses = 0; (await chosen()) !== label; presses += 1) {
      assert.ok(presses < 20, `${label} cannot be chosen`);
      await select.page().keyboard.press('ArrowDown');
    }
  },
  async code(page, text) {
    await reach(page.locator('.cm-content'));
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText(text);
    await page.keyboard.press('Escape');
  },
  save: (page) => page.keyboard.press('ControlOrMeta+s'),
};
