'use strict';
// Entry point: read the configuration, prepare dependencies, load the handler, then serve it or run it once.
// Only what every start needs is required here; the rest is required where it is first used, because each
// module on this path is paid for by somebody who waits for a cold start.

const { readConfig } = require('./config');
const { locate, readManifest, needsInstall, loadHandler } = require('./load');
const { log, fail, showFolderAs, showStacksReadable } = require('./log');

let phase = 'starting';

// When the event loop runs dry before the work is done, a promise was left unsettled; Node would exit with 0.
process.on('beforeExit', () => {
  if (phase === 'starting') fail('the function never finished loading: a promise at its top level does not settle');
  if (phase === 'batch') fail('the handler never finished: it returned a promise that does not settle');
});

// As process 1 of a container there is no default action for a signal: without this, a stop would wait for SIGKILL.
// The listener stays and changes what it does: one that is replaced can lose a signal that is on its way.
let onStop = (signal) => process.exit(signal === 'SIGINT' ? 130 : 143);
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => onStop(signal));

async function main() {
  const config = readConfig(process.env);
  // Between the poller and this server: a function that shows its environment does not show it.
  delete process.env.KIPPER_EVENT_TOKEN;
  const { handler, file } = await load(config).catch((error) => fail('cannot load the function', error));
  if (config.mode === 'batch') {
    phase = 'batch';
    return require('./batch').run(handler, config);
  }
  process.on('uncaughtException', (error) => log('uncaught exception', error));
  process.on('unhandledRejection', (error) => log('unhandled rejection', error));
  const server = require('./listen').listen(config);
  const { address, drain } = await require('./http').serve(server, handler, config).catch((error) => fail(`cannot listen: ${error.message}`));
  phase = 'serving';
  onStop = drain;
  const ms = Math.round(process.uptime() * 1000);
  log(`listening on http://${address} (node ${process.version}, ${file}, ${ms} ms after start; ${config.limits})`);
}

async function load(config) {
  if (process.env.KIPPER_FILES) require('./unpack').unpack(process.env, config.functionPath);
  let found = locate(config.functionPath);
  const manifest = readManifest(found.root);
  if (needsInstall(found.root, manifest)) {
    const { root } = found;
    found = await require('./deps').prepare(found, manifest, config);
    showFolderAs(found.root, root);
  }
  const handler = await loadHandler(found.file, manifest, config.handler);
  if (isLink(found.file)) showStacksReadable();
  return { handler, file: found.file };
}

/** A ConfigMap's files are links. */
function isLink(file) {
  return require('node:fs').lstatSync(file).isSymbolicLink();
}

main();
