import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { request } from 'node:http';
import { test } from 'node:test';
import { allow, around, eventually, openSection, save, setCode } from '../browser/harness.mjs';
import { kubectl, object, READER, SERVER_IMAGE, SYSTEM, WAKE_MS, within } from './cluster.mjs';
import { addressOf, ingress } from './ingress.mjs';

/** What the local cluster's `values.yaml` gives to the chart. */
const ORIGIN = 'https://console.kipper.run';
const HANDLER = `module.exports = async () => 'hello from the console'\n`;
const OWNER = [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }];

const at = around(() =>
  within('deployment', async (sandbox) => {
    const reader = await sandbox.user('reader', READER);
    const owner = await sandbox.user('owner', OWNER);
    const front = await ingress(sandbox);
    return { sandbox, reader, owner, ingress: front, chromium: front.chromium, stop: () => sandbox.stop() };
  }),
);

async function fillToken(page, token) {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

async function login(token) {
  const { page } = at;
  // Nobody is logged in yet, and a new user has no rights in the namespace that is chosen at first.
  allow(at, /401/, /403/);
  await page.goto(ORIGIN);
  await fillToken(page, token);
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
}

const namespace = (page) => page.getByRole('textbox', { name: 'Namespace' });

async function choose(name) {
  await namespace(at.page).fill(name);
  await at.page.keyboard.press('Enter');
}


/** What a service account of some other cluster would be given. */
function foreignToken() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: 'https://kubernetes.default.svc', aud: ['https://kubernetes.default.svc'], sub: 'system:serviceaccount:default:ada', exp: 4e9 };
  const signed = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
}

test('a token of another cluster is refused in words; a reader logs in, looks and logs out', async () => {
  const { page, kip } = at;
  await kip.sandbox.function(kip.sandbox.name('seen'), { image: SERVER_IMAGE });
  allow(at, /401/, /403/);
  await page.goto(ORIGIN);
  await fillToken(page, foreignToken());
  await page.getByRole('alert').getByText('the cluster does not accept this token').waitFor();
  assert.deepEqual(await at.context.cookies(), []);
  await login(kip.reader);
  await page.getByText(`system:serviceaccount:${kip.sandbox.namespace}:reader`, { exact: true }).waitFor();
  await page.getByText('cannot list resource "functions" in API group "kipper.run" in the namespace "default"').waitFor();
  await choose(kip.sandbox.namespace);
  await page.getByRole('link', { name: kip.sandbox.name('seen'), exact: true }).waitFor();

  const cookies = await at.context.cookies();
  assert.ok(cookies.length > 0);
  for (const { name, secure, httpOnly, sameSite, domain } of cookies) {
    assert.match(name, /^__Host-/);
    assert.deepEqual({ secure, httpOnly, sameSite, domain }, { secure: true, httpOnly: true, sameSite: 'Strict', domain: 'console.kipper.run' });
  }
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
  assert.ok(!kept.includes(kip.reader.split('.')[2]), 'the page keeps no token');
  // Where the session cannot be ended, nobody is told that it was.
  allow(at, /ERR_FAILED/);
  await page.route('**/api/v1/session', (route) => route.abort());
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByText('You are still logged in.').waitFor();
  await page.unroute('**/api/v1/session');
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
  assert.deepEqual(await at.context.cookies(), []);
  await page.reload();
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
});

test('a function is made, answers and is watched through the ingress', async () => {
  const { page, kip } = at;
  const fn = kip.sandbox.name('made');
  await login(kip.owner);
  await choose(kip.sandbox.namespace);
  await page.getByRole('link', { name: 'New function' }).first().click();
  await page.getByLabel('Name', { exact: true }).fill(fn);
  await page.locator('#code-body .cm-content').waitFor();
  await setCode(page, HANDLER);
  await save(page, `Created ${fn}.`);
  const request = await openSection(page, 'request');
  const status = await openSection(page, 'status');
  await status.getByText('Everything is as it should be').waitFor({ timeout: WAKE_MS });
  await request.getByRole('button', { name: 'Send', exact: true }).click();
  await page.getByTestId('answer-body').getByText('hello from the console').waitFor({ timeout: WAKE_MS });
  // Lines of the stream come one by one, whatever the ingress would like to gather first.
  await status.locator('.facts').getByText('1 replica').waitFor();
});

test('a pod that is killed while a form is open takes nothing with it', async () => {
  const { page, kip } = at;
  const fn = kip.sandbox.name('made');
  await login(kip.owner);
  allow(at, /50[24]/, /ERR_/);
  await page.goto(`${ORIGIN}/ns/${kip.sandbox.namespace}/${fn}`);
  const environment = await openSection(page, 'environment');
  await environment.getByRole('button', { name: 'Add variable' }).click();
  await environment.getByLabel('Name').fill('TYPED');
  await environment.getByLabel('Value of TYPED').fill('before');
  // Its process is gone when this returns: until then the page might go on with it.
  await kubectl(['delete', 'pod', '-n', SYSTEM, '-l', 'app.kubernetes.io/component=console', '--grace-period=1']);
  await kubectl(['rollout', 'status', 'deployment', 'kipper-console', '-n', SYSTEM, '--timeout', `${WAKE_MS / 1000}s`]);
  await kip.sandbox.kip('function', 'env', 'set', fn, 'ELSEWHERE=1');
  await page.getByText('It has been changed elsewhere').waitFor({ timeout: WAKE_MS });
  assert.equal(await environment.getByLabel('Value of TYPED').inputValue(), 'before');
  await save(page);
  assert.deepEqual((await kip.sandbox.get('function', fn)).spec.env, { ELSEWHERE: '1', TYPED: 'before' });
});

test('a session that the cluster ended asks for another login, and the form goes on', async () => {
  const { page, kip } = at;
  const { sandbox } = kip;
  const fn = sandbox.name('made');
  await login(await sandbox.user('leaver', OWNER));
  await page.goto(`${ORIGIN}/ns/${sandbox.namespace}/${fn}`);
  const environment = await openSection(page, 'environment');
  await environment.getByLabel('Value of TYPED').fill('after');
  await kubectl(['delete', 'serviceaccount', 'leaver', '-n', sandbox.namespace]);
  // The API server remembers for some seconds that it took a token.
  await eventually(async () => assert.equal(await page.evaluate(() => fetch('/api/v1/namespaces').then(({ status }) => status)), 401), WAKE_MS);
  await page.keyboard.press('ControlOrMeta+s');
  const dialog = page.getByRole('dialog', { name: 'Log in again' });
  await fillToken(dialog, kip.owner);
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await environment.getByLabel('Value of TYPED').inputValue(), 'after');
  await save(page);
  assert.equal((await sandbox.get('function', fn)).spec.env.TYPED, 'after');
});

test('a page of a function, with the session in the same browser, can neither write to the console nor read it', async () => {
  const { page, kip } = at;
  const { sandbox } = kip;
  const functions = `/api/v1/ns/${sandbox.namespace}/functions`;
  await login(kip.owner);
  const victim = sandbox.name('made');
  const fn = sandbox.name('evil');
  // Without the headers that would keep it from asking anybody but itself.
  await sandbox.function(fn, { image: SERVER_IMAGE, noSecurityHeaders: true });
  const home = `https://fn-${fn}-127-0-0-1.kipper.run/`;
  const evil = await at.context.newPage();
  await eventually(async () => assert.equal((await evil.goto(home, { timeout: WAKE_MS })).status(), 200));
  const before = (await kip.ingress.requests()).length;
  const tried = await evil.evaluate(attack, { url: ORIGIN + functions, victim });
  assert.deepEqual(tried, { simple: 'refused', ours: 'refused', remove: 'refused', read: 'refused' });
  await evil.evaluate((url) => {
    const form = Object.assign(document.createElement('form'), { method: 'post', action: url, enctype: 'text/plain' });
    document.body.append(form);
    form.submit();
  }, ORIGIN + functions);
  await evil.getByText("only the console's own page may change anything").waitFor();
  // All of that reached the server, the session with it, and nothing was answered.
  const requests = (await kip.ingress.requests()).slice(before).filter(({ path }) => path.startsWith(functions));
  assert.deepEqual(
    requests.map(({ method, status, site, hasSession }) => `${method} ${status} ${site} ${hasSession}`).sort(),
    ['GET 403 same-site true', 'OPTIONS 403 same-site false', 'OPTIONS 403 same-site false', 'POST 403 same-site true', 'POST 403 same-site true'],
  );
  await evil.goto(home);
  await evil.evaluate((origin) => document.body.append(Object.assign(document.createElement('iframe'), { src: origin })), ORIGIN);
  await eventually(() => assert.match(evil.frames().at(-1).url(), /^chrome-error:/));
  await evil.close();
  const stored = await object('-n', sandbox.namespace, 'functions.kipper.run');
  assert.deepEqual(stored.items.map(({ metadata }) => metadata.name).sort(), [fn, victim, sandbox.name('seen')].sort());
  await page.reload();
  await page.getByRole('heading', { name: 'Functions', exact: true }).waitFor();
});

/** Runs in the page of a function. */
async function attack({ url, victim }) {
  // What a sibling would like to have in the place of the session.
  document.cookie = '__Host-kipper-session=mine; domain=kipper.run; path=/; secure';
  const body = JSON.stringify({ name: 'planted', spec: { image: 'evil' }, secrets: { set: {} } });
  const headers = { 'Kipper-Console': '1', 'Content-Type': 'application/json' };
  const attempt = (target, init) => fetch(target, { credentials: 'include', ...init }).then((answer) => `${answer.type} ${answer.status}`, () => 'refused');
  return {
    simple: await attempt(url, { method: 'POST', mode: 'no-cors', headers: { 'Content-Type': 'text/plain' }, body }),
    ours: await attempt(url, { method: 'POST', headers, body }),
    remove: await attempt(`${url}/${victim}`, { method: 'DELETE', headers }),
    read: await attempt(url, {}),
  };
}

test('no other name is answered, neither with the page nor with the API', async () => {
  const address = await addressOf('kipper-console', 'http');
  for (const path of ['/', '/api/v1/me']) {
    for (const host of ['rebound.example', 'localhost', address, 'console.kipper.run:8443']) {
      const { status, text } = await asked(address, path, host);
      assert.equal(status, 403, host);
      assert.match(text, /the console is not served under this host/);
    }
  }
});

/** A request with a `Host` that no browser and no `fetch` sends there. */
function asked(address, path, host) {
  return new Promise((resolve, reject) => {
    const sent = request(`http://${address}${path}`, { headers: { host } }, async (response) => {
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) text += chunk;
      resolve({ status: response.statusCode, text });
    });
    sent.on('error', reject).end();
  });
}
