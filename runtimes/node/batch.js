'use strict';
// Runs the handler once, for a schedule or a test run, and exits: 0 when it succeeded, 1 when it did not.
// Open handles (a database pool, a timer) do not keep the run alive.

const { isResponse, isStream, statusOf, toAnswer } = require('./answer');
const { fail, isError } = require('./log');

async function run(handler, config) {
  const crash = (error) => fail('the run failed', error);
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  try {
    const result = await handler(null, { trigger: config.trigger });
    if (isError(result)) throw result;
    await finish(result);
    await finish(result?.body);
    // One handler may serve several triggers, so an answer that reports a failure fails the run as well.
    const status = reported(result);
    if (status >= 400) fail(`the run failed: the handler answered ${status}`);
  } catch (error) {
    crash(error);
  }
  process.exit(0);
}

/** A generator does its work while it is read. */
async function finish(body) {
  if (isStream(body)) for await (const _ of body);
}

function reported(result) {
  if (typeof result !== 'object' || result === null) return 0;
  if (isResponse(result)) return result.status;
  const status = statusOf(result);
  return status === undefined ? 0 : toAnswer({ ...result, body: '' }, 200).status;
}

module.exports = { run };
