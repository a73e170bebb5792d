/**
 * The page in a real chromium against a real `kip dev`.
 *
 *     KIPPER_KIP=target/debug/kip node --test tests/browser/
 *
 * A test fails on any CSP report, page error or console error that it does not expect.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, afterEach } from 'node:test';
import { chromium } from 'playwright-core';
import { Kip } from './kip.mjs';

export const CHROMIUM = process.env.KIPPER_CHROMIUM ?? '/usr/bin/chromium';
/** Longest wait for one thing to happen; a cluster beside other tests takes its time. */
const STEP_MS = Number(process.env.KIPPER_STEP_MS ?? 10_000);
/** A network interface of this machine came or went, with which chromium ends what is on its way: pods do that. */
const NETWORK_CHANGED = /ERR_NETWORK_CHANGED/;
/** How often a page is asked for that did not come for that reason. */
const NAVIGATIONS = 5;

export const HELLO = `module.exports = async (event, context) => {
  const name = event?.name ?? context.query?.name ?? 'world';
  return { message: \`Hello, \${name}!\` };
};
`;

/** A Function as YAML: `spec` is written as JSON, which YAML is as well. */
export function manifest(name, spec) {
  return `apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata:\n  name: ${name}\nspec: ${JSON.stringify(spec)}\n`;
}

/** Starts `kip dev` and chromium around the tests of a file. */
export function suite(files, options = {}) {
  return around(() => Kip.start(files, options), options);
}

/** Starts a console and chromium around the tests of a file. What it returns is filled before the first of them. */
export function around(start, options = {}) {
  const at = { kip: null, browser: null, page: null, reports: [], allowed: [], all: [] };
  before(async () => {
    at.kip = await start();
    const args = ['--no-sandbox', ...(at.kip.chromium ?? [])];
    at.browser = await chromium.launch({ executablePath: CHROMIUM, args });
  });
  after(async () => {
    await at.browser?.close();
    await at.kip?.stop();
  });
  beforeEach(async () => {
    at.allowed = [];
    at.reports = [];
    at.context = await newContext(at, options.context);
    at.page = await newPage(at, at.context);
  });
  afterEach(async () => {
    const allowed = [...at.allowed, NETWORK_CHANGED];
    const unexpected = at.reports.filter((report) => !allowed.some((pattern) => pattern.test(report)));
    at.all.push(...unexpected);
    await at.context.close();
    assert.deepEqual(unexpected, [], 'the page reported errors');
  });
  return at;
}

export async function newContext(at, options = {}) {
  const context = await at.browser.newContext({
    viewport: { width: 1280, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  });
  context.setDefaultTimeout(STEP_MS);
  context.on('page', navigateAgain);
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`CSP report: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  return context;
}

/**
 * Asks again for a page that did not come because the network changed, or came without what it begins with. What it
 * loads later is for the page itself to ask for again.
 */
function navigateAgain(page) {
  let isBroken = false;
  page.on('requestfailed', (request) => {
    const begins = ['document', 'script', 'stylesheet'].includes(request.resourceType());
    isBroken ||= begins && NETWORK_CHANGED.test(request.failure().errorText);
  });
  for (const name of ['goto', 'reload']) {
    const navigate = page[name].bind(page);
    page[name] = async (...args) => {
      for (let attempt = 1; ; attempt += 1) {
        isBroken = false;
        const [answer] = await Promise.allSettled([navigate(...args)]);
        // The page that says so may still be on its way when the next attempt begins.
        isBroken ||= /ERR_NETWORK_CHANGED|chrome-error:/.test(answer.reason?.message);
        if (isBroken && attempt < NAVIGATIONS) continue;
        if (answer.status === 'rejected') throw answer.reason;
        return answer.value;
      }
    };
  }
}

export async function newPage(at, context) {
  const page = await context.newPage();
  page.on('pageerror', (error) => at.reports.push(`page error: ${error.stack ?? error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') at.reports.push(`${message.text()} (${message.location().url})`);
  });
  return page;
}

/** What the page's console may say in this test. */
export function allow(at, ...patterns) {
  at.allowed.push(...patterns);
}

/** Opens the console as `kip` printed it, and then a path of it. */
export async function enter(at, path = '/', page = at.page) {
  await page.goto(at.kip.url);
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
  if (path === '/') return;
  await page.goto(at.kip.origin + path);
  await page.getByRole('button', { name: 'Save & deploy', exact: true }).waitFor();
}

export async function openFunction(at, name, page = at.page) {
  const namespace = (await at.kip.api('GET', '/meta')).namespace;
  await enter(at, `/ns/${namespace}/${name}`, page);
  await page.locator('#code-body .cm-content').waitFor();
}

/** Opens a section of the form unless it is open. */
export async function openSection(page, id) {
  const button = page.locator(`#${id}-button`);
  if ((await button.getAttribute('aria-expanded')) !== 'true') await button.click();
  await page.locator(`#${id}-body`).waitFor();
  return page.locator(`#${id}`);
}

/** Replaces the code in the editor as somebody who types would, in one go. */
export async function setCode(page, text) {
  await page.locator('.cm-content').click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText(text);
}

export async function codeOf(page) {
  return page.evaluate(() => [...document.querySelectorAll('.cm-line')].map((line) => line.textContent).join('\n'));
}

export async function save(page, words = 'Saved and deployed.') {
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('status').filter({ hasText: words }).first().waitFor();
}

/** What a function answers, asked again until `isGood` or the time is over: a new version takes a moment. */
export async function answer(at, name, isGood, init = {}) {
  return eventually(async () => {
    const response = await fetch(`${at.kip.functions}/${name}/`, init);
    const text = await response.text();
    assert.ok(isGood(text, response), `${response.status} ${text}`);
    return text;
  });
}

/** Tries until it does not throw. */
export async function eventually(attempt, milliseconds = Math.max(15_000, STEP_MS)) {
  const end = Date.now() + milliseconds;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** One line for the list of figures. */
export function figure(name, measured, unit, op, goal) {
  const isMet = op === '<=' ? measured <= goal : op === '>=' ? measured >= goal : measured === goal;
  console.log(`FIGURE ${name} ${measured} ${unit} goal ${op}${goal} ${isMet ? 'met' : 'short'}`);
  return isMet;
}
