import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allow, around, enter, eventually, openSection } from '../browser/harness.mjs';
import { ClusterConsole, kubectl, WAKE_MS, within } from './cluster.mjs';
import { loki } from './servers.mjs';

const HANDLER = `module.exports = async (event) => console.log(event.say)\n`;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** The page's ranges, and how old a line is that is within each but not within the one before. */
const RANGES = [['5m', 2 * MINUTE], ['15m', 14 * MINUTE], ['1h', 55 * MINUTE], ['6h', 5 * HOUR], ['24h', 23 * HOUR], ['7d', 167 * HOUR]];
/** Means something else as LogQL, as a pattern and as markup. */
const TEXT = '`ticks` |= "a.*[b]+" {app="other"} <b>100 %</b>';

const at = around(() =>
  within('logs', async (sandbox) => {
    const store = await loki(sandbox);
    const fn = sandbox.name('says');
    await sandbox.function(fn, { runtime: 'node', source: { code: HANDLER } });
    const kip = await ClusterConsole.start(sandbox, { env: { KIP_LOKI: `http://127.0.0.1:${store.port}` } });
    return Object.assign(kip, { store, fn });
  }),
);

/** What a collector tells the store of one pod: pairs of a time in nanoseconds and a line. */
async function collect(pod, lines) {
  const { store, fn, sandbox } = at.kip;
  const stream = { namespace: sandbox.namespace, app: fn, pod, container: 'function' };
  const values = lines.map(([time, text]) => [String(time), text]);
  const response = await fetch(`http://127.0.0.1:${store.port}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ streams: [{ stream, values }] }),
  });
  assert.equal(response.status, 204, await response.text());
}

const ago = (milliseconds) => BigInt(Date.now() - milliseconds) * 1_000_000n;

async function open() {
  const { kip, page } = at;
  await enter(at, `/ns/${kip.sandbox.namespace}/${kip.fn}`);
  return openSection(page, 'logs');
}

const shown = () => at.page.getByTestId('log-lines').locator('.text').allTextContents();

test('every range has the lines of pods that are gone, and a text is searched as it is', async () => {
  for (const [range, age] of RANGES.toReversed()) await collect(`gone-${range}`, [[ago(age), `within ${range}`]]);
  await collect('gone-text', [[ago(MINUTE), TEXT]]);
  const section = await open();
  for (const [at] of RANGES.entries()) {
    await section.getByLabel('Time range').selectOption(RANGES[at][0]);
    const expected = RANGES.slice(0, at + 1).toReversed().map(([range]) => `within ${range}`);
    await eventually(async () => assert.deepEqual(await shown(), [...expected, TEXT]));
  }
  const search = section.getByLabel('Search the logs');
  await search.fill(TEXT.slice(3, -3));
  await eventually(async () => assert.deepEqual(await shown(), [TEXT]));
  await search.fill('within .*');
  await section.getByText('No line contains “within .*”').waitFor();
});

test('lines come as they are written, and stand once when the store has them too', async () => {
  const { page, kip } = at;
  const section = await open();
  const request = await openSection(page, 'request');
  await request.getByLabel('Body', { exact: true }).fill('{"say": "first of this pod"}');
  await request.getByRole('button', { name: 'Send', exact: true }).click();
  await eventually(async () => assert.equal((await shown()).at(-1), 'first of this pod'), WAKE_MS);
  const pod = (await kubectl(['get', 'pods', '-n', kip.sandbox.namespace, '-l', `app=${kip.fn}`, '-o', 'name'])).trim().replace('pod/', '');
  const told = await kubectl(['logs', pod, '-n', kip.sandbox.namespace, '-c', 'function', '--timestamps']);
  const lines = told.trim().split('\n').map((line) => /^(\S+) (.*)$/.exec(line)).map(([, time, text]) => [nanoseconds(time), text]);
  assert.equal(lines.at(-1)[1], 'first of this pod');
  await collect(pod, lines);
  await section.getByRole('button', { name: 'Reload' }).click();
  await eventually(async () => assert.equal(await page.getByText(/\d+ lines loaded/).textContent(), `${lines.length + 4} lines loaded`));
  assert.deepEqual((await shown()).filter((text) => text === 'first of this pod'), ['first of this pod']);
});

/** RFC 3339 with up to nine decimals; `Date` has three. */
function nanoseconds(time) {
  const [, seconds, decimals] = /^(.*?)(?:\.(\d+))?Z$/.exec(time);
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt((decimals ?? '').padEnd(9, '0'));
}

test('a store that is gone is said to be, and its lines stay on the page', async () => {
  allow(at, /502/);
  const section = await open();
  await eventually(async () => assert.ok((await shown()).includes(TEXT)));
  await at.kip.store.stop();
  await section.getByRole('button', { name: 'Reload' }).click();
  await section.getByText('Newer logs could not be loaded.').waitFor();
  await section.getByText(/Loki: cannot connect to 127\.0\.0\.1:\d+/).waitFor();
  assert.ok((await shown()).includes(TEXT));
});
