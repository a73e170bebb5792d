/** `kip function ask` with a real model behind it, about a function of the cluster that KUBECONFIG names. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { HELLO } from '../browser/harness.mjs';
import { KIP } from '../browser/kip.mjs';
import { Sandbox } from '../cluster/cluster.mjs';

const skip = process.env.KUBECONFIG ? false : 'needs a cluster: eval "$(deploy/local-cluster/cluster env)"';

/** What it prints, in the parts in which it comes. */
async function ask(sandbox, name, question) {
  const kip = spawn(KIP, ['function', 'ask', name, question], { env: { ...process.env, KIP_NAMESPACE: sandbox.namespace } });
  const parts = [];
  let notes = '';
  kip.stdout.on('data', (part) => parts.push(String(part)));
  kip.stderr.on('data', (part) => (notes += part));
  const code = await new Promise((resolve) => kip.once('close', resolve));
  return { code, parts, notes };
}

test('a reply streams, and one to a question beyond the context is said to be cut off', { skip }, async () => {
  const sandbox = await Sandbox.create('model');
  try {
    const name = sandbox.name('model');
    await sandbox.function(name, { runtime: 'node', source: { code: HELLO } });
    const short = await ask(sandbox, name, 'Answer with one word: yes or no?');
    assert.ok(short.code === 0 && short.parts.length > 1, JSON.stringify(short));
    const long = await ask(sandbox, name, `What is this? ${'river mountain '.repeat(3000)}`);
    assert.equal(long.code, 1);
    // The server ends the stream without a word.
    assert.match(long.notes, /ended before it was complete/);
  } finally {
    await sandbox.stop();
  }
});
