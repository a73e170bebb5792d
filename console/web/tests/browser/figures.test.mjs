import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { brotliCompressSync } from 'node:zlib';
import { allow, enter, figure, HELLO, manifest, newContext, newPage, openFunction, openSection, suite } from './harness.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const at = suite({
  'hello.js': HELLO,
  'beat.yaml': manifest('beat', {
    runtime: 'node',
    source: { code: 'const a = require("axios");\nmodule.exports = async () => { console.log("beat"); };\n', dependencies: { axios: '1.6.7' } },
    triggers: [{ type: 'cron', schedule: '0 2 * * *' }],
    env: { COLOR: 'red' },
  }),
  'orders.yaml': manifest('orders', {
    runtime: 'python',
    source: { code: 'def handler(event, context=None):\n    return {}\n' },
    triggers: [{ type: 'postgres', config: { source: 'shopdb', query: 'SELECT id FROM orders' } }],
  }),
});

/** Remembers when an element that fits is there for the first time. */
function noteFirst(selector) {
  new MutationObserver((_, observer) => {
    if (!document.querySelector(selector)) return;
    window.usableAt = performance.now();
    observer.disconnect();
  }).observe(document, { childList: true, subtree: true });
}

/**
 * The scripts that a page has asked for until `selector` is there, as they are after brotli, in KB of 1000 bytes. What
 * stands below the editor, its completion and its checks are fetched after that.
 */
async function scriptsUntil(path, selector) {
  const context = await newContext(at);
  const page = await newPage(at, context);
  const bodies = new Map();
  page.on('response', (response) => void bodies.set(response.url(), response.body().catch(() => Buffer.alloc(0))));
  await page.addInitScript(noteFirst, selector);
  await page.goto(at.kip.origin + path + new URL(at.kip.url).hash);
  await page.waitForFunction(() => window.usableAt !== undefined);
  const names = await page.evaluate(() =>
    performance.getEntriesByType('resource').filter(({ name, startTime }) => /\/assets\/.*\.js$/.test(name) && startTime < window.usableAt).map(({ name }) => name),
  );
  const sizes = await Promise.all(names.map(async (name) => brotliCompressSync(await bodies.get(name)).length));
  await context.close();
  return Math.round(sizes.reduce((sum, size) => sum + size, 0) / 100) / 10;
}

test('bundle sizes', async () => {
  const { namespace } = await at.kip.api('GET', '/meta');
  const list = await scriptsUntil('/', 'tbody a');
  const node = await scriptsUntil(`/ns/${namespace}/hello`, '.cm-line span');
  const python = await scriptsUntil(`/ns/${namespace}/orders`, '.cm-line span');
  assert.ok(figure('console_list_js', list, 'KB', '<=', 60));
  assert.ok(figure('console_editor_js', Math.max(node, python), 'KB', '<=', 180));
});

/** Milliseconds until `selector` is there, on a processor that is four times slower. */
async function interactiveAfter(path, selector) {
  const context = await newContext(at);
  const page = await newPage(at, context);
  const session = await context.newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  await page.addInitScript(noteFirst, selector);
  await page.goto(at.kip.origin + path + new URL(at.kip.url).hash);
  await page.waitForFunction(() => window.usableAt !== undefined);
  const time = await page.evaluate(() => window.usableAt);
  await context.close();
  return Math.round(time);
}

// Times on a machine that does other things as well: told, not judged.
test('interactive on a slow processor', async () => {
  const { namespace } = await at.kip.api('GET', '/meta');
  figure('console_list_interactive', await interactiveAfter('/', 'tbody a'), 'ms', '<=', 1000);
  figure('console_editor_interactive', await interactiveAfter(`/ns/${namespace}/hello`, '.cm-line span'), 'ms', '<=', 2000);
});

/** What axe finds on the page as it stands. */
async function violations(page, where) {
  const { violations: found, passes } = await page.evaluate(async () =>
    window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  assert.ok(passes.length > 10, 'axe has looked at something');
  return found.map(({ id, help, nodes }) => `${where}: ${id}, ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`);
}

test('axe: every page, every section, both themes', async () => {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    const context = await newContext(at, { colorScheme });
    // axe is put in place by the debugger: the page's own policy would refuse it.
    await context.addInitScript(AXE);
    const page = await newPage(at, context);
    await enter(at, '/', page);
    found.push(...(await violations(page, `list, ${colorScheme}`)));
    for (const name of ['hello', 'beat', 'orders']) {
      await openFunction(at, name, page);
      const ids = await page.locator('section.section').evaluateAll((sections) => sections.map((section) => section.id));
      for (const id of ids) await openSection(page, id);
      await page.locator('[aria-busy=true]').first().waitFor({ state: 'detached' });
      if (name === 'hello') {
        await page.locator('#request').getByRole('button', { name: 'Send', exact: true }).click();
        await page.getByTestId('answer').waitFor();
        await page.getByTestId('log-lines').waitFor();
      }
      await page.waitForTimeout(300);
      found.push(...(await violations(page, `${name}, ${colorScheme}`)));
    }
    await enter(at, '/new', page);
    await page.locator('.cm-content').waitFor();
    found.push(...(await violations(page, `new, ${colorScheme}`)));
    await page.getByRole('button', { name: 'More actions' }).click();
    found.push(...(await violations(page, `menu, ${colorScheme}`)));
    await context.close();
  }
  const all = [...new Set(found)];
  figure('console_axe_violations', all.length, 'count', '==', 0);
  assert.deepEqual(all, []);
});

test('CSP reports, over all of these pages', () => {
  const reports = at.all.filter((report) => /CSP report|Content Security Policy|TrustedHTML/.test(report));
  assert.ok(figure('console_csp_reports', reports.length, 'count', '==', 0));
});

test('a script of another page’s making does not run, and markup is no way in', async () => {
  allow(at, /Content Security [Pp]olicy|CSP report|TrustedHTML|TrustedScript/);
  await enter(at);
  const outcome = await at.page.evaluate(() => {
    const refused = (attempt) => {
      try {
        attempt();
        return false;
      } catch {
        return true;
      }
    };
    const script = document.createElement('script');
    return {
      script: refused(() => (script.textContent = 'window.ran = true')),
      markup: refused(() => document.body.insertAdjacentHTML('beforeend', '<img src="x">')),
      policy: refused(() => window.trustedTypes.createPolicy('of-somebody-else', {})),
      ran: window.ran === true,
    };
  });
  assert.deepEqual(outcome, { script: true, markup: true, policy: true, ran: false });
});
