import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AXE, violations } from './axe.mjs';
import { enter, HELLO, manifest, newContext, newPage, openFunction, openSection, setCode, suite } from './harness.mjs';

const LONG = 'a-function-whose-name-is-as-long-as-they-can-be';
const at = suite({
  'beat.yaml': manifest('beat', {
    runtime: 'node',
    source: { files: { 'index.js': HELLO, 'lib/a-module-with-a-long-name.js': '', 'lib/another-one.js': '' }, dependencies: { axios: '1.6.7' } },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }, { type: 'http' }],
    env: { COLOR: 'red', A_NAME_THAT_IS_LONGER_THAN_MOST_OTHERS: 'a value of many words '.repeat(8) },
  }),
  'orders.yaml': manifest('orders', {
    runtime: 'python',
    source: { code: 'def handler(event, context=None):\n    return {}\n' },
    triggers: [{ type: 'postgres', config: { source: 'shopdb', query: 'SELECT id FROM orders', markDone: 'UPDATE orders SET done = true WHERE id = {{id}}' } }],
  }),
  [`${LONG}.js`]: HELLO,
});

/** What is wider than the screen, or cut by what it is in, and cannot be scrolled to within a box of its own. */
function cut() {
  const width = document.documentElement.clientWidth;
  const found = [];
  if (document.documentElement.scrollWidth > width) found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  for (const element of document.querySelectorAll('a, button, input, select, textarea, summary, h1, h2, h3, label, .problem, .help')) {
    if (!element.checkVisibility() || element.closest('.visually-hidden, .skip, .cm-editor')) continue;
    const { left, right, width: own } = element.getBoundingClientRect();
    if (own === 0) continue;
    let [from, to] = [0, width];
    for (let box = element.parentElement; box; box = box.parentElement) {
      const overflow = getComputedStyle(box).overflowX;
      if (overflow === 'visible') continue;
      const inside = box.getBoundingClientRect();
      if (overflow === 'auto' || overflow === 'scroll') {
        // What stands before the beginning of a box is not to be scrolled to.
        [from, to] = [inside.left - box.scrollLeft, inside.left - box.scrollLeft + box.scrollWidth + 2];
        break;
      }
      [from, to] = [Math.max(from, inside.left), Math.min(to, inside.right)];
    }
    if (left < from - 1 || right > to + 1) found.push(`${element.outerHTML.slice(0, 120)}: ${Math.round(left)} to ${Math.round(right)}`);
  }
  return found;
}

for (const width of [320, 390, 768]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px wide, ${colorScheme}: nothing is cut, everything can be reached`, async () => {
      const context = await newContext(at, { viewport: { width, height: 740 }, colorScheme });
      await context.addInitScript(AXE);
      const page = await newPage(at, context);
      const found = [];
      const look = async (where) => {
        // The bar that stays at the top would hide what is half below it.
        await page.evaluate(() => window.scrollTo(0, 0));
        found.push(...(await page.evaluate(cut)).map((what) => `${where}: ${what}`), ...(await violations(page, where)));
      };
      await enter(at, '/', page);
      await page.getByRole('link', { name: LONG, exact: true }).waitFor();
      await look('list');
      for (const name of ['beat', 'orders', LONG]) {
        await openFunction(at, name, page);
        const ids = await page.locator('section.section').evaluateAll((sections) => sections.map((section) => section.id));
        for (const id of ids) await openSection(page, id);
        await page.locator('[aria-busy=true]').first().waitFor({ state: 'detached' });
        if (name === LONG) {
          await page.locator('#request').getByRole('button', { name: 'Add header' }).click();
          await page.locator('#request').getByRole('button', { name: 'Send', exact: true }).click();
          await page.getByTestId('answer').waitFor();
          await page.locator('#request').getByText(/\d headers/).click();
          await page.getByRole('button', { name: 'AI Assistant' }).click();
          await page.getByRole('region', { name: 'Conversation' }).waitFor();
        }
        await look(name);
      }
      await setCode(page, `// ${'a long line '.repeat(30)}\n${HELLO}`);
      await page.getByText('Unsaved changes').first().waitFor();
      // A long line scrolls in the editor.
      assert.ok(await page.locator('.cm-scroller').evaluate((box) => box.scrollWidth > box.clientWidth));
      await page.getByRole('button', { name: 'More actions' }).click();
      await look('menu');
      await page.getByRole('menuitem', { name: /Show changes/ }).click();
      await page.getByRole('dialog').waitFor();
      await look('changes');
      await page.getByRole('button', { name: 'Close', exact: true }).last().click();
      await page.getByRole('link', { name: 'All functions' }).click();
      await page.getByRole('dialog').waitFor();
      await look('leave');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'More actions' }).click();
      await page.getByRole('menuitem', { name: /Discard changes/ }).click();
      await page.getByText('Unsaved changes').first().waitFor({ state: 'detached' });
      await page.getByRole('navigation', { name: 'Console' }).getByRole('link', { name: 'Settings' }).click();
      await page.getByRole('form', { name: 'AI provider' }).waitFor();
      await look('settings');
      await enter(at, '/new', page);
      await page.locator('.cm-content').waitFor();
      await page.keyboard.press('ControlOrMeta+s');
      await page.getByText('Give the function a name.').waitFor();
      await look('new');
      await context.close();
      assert.deepEqual([...new Set(found)], []);
    });
  }
}

test('on a narrow screen the list of functions is one of blocks, and a tap opens one', async () => {
  await at.page.setViewportSize({ width: 390, height: 740 });
  await enter(at);
  const row = at.page.getByRole('row', { name: /orders/ });
  const [first, last] = await row.getByRole('cell').evaluateAll((cells) => cells.slice(0, 3).map((cell) => cell.getBoundingClientRect().top)).then((tops) => [tops[0], tops[2]]);
  assert.ok(last > first, 'the cells stand one below the other');
  await row.getByText('Postgres', { exact: true }).click();
  await at.page.locator('.cm-content').waitFor();
});
