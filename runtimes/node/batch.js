'use strict';
// Runs the handler once, for a schedule or a test run, and exits: 0 when it succeeded, 1 when it did not.
// Open handles (a database pool, a timer) do not keep the run alive.

const { isStream, toAnswer } = require('./answer');
const { fail } = require('./log');

async function run(handler, config) {
  const crash = (error) => fail('the run failed', error);
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  try {
    const result = await handler(null, { trigger: config.trigger });
    if (isStream(result)) for await (const _ of result); // a generator does its work while it is read
    // One handler may serve several triggers, so an answer that reports a failure fails the run as well.
    else if (typeof result?.statusCode !== 'undefined' && toAnswer(result, 200).status >= 400) {
      fail(`the run failed: the handler answered ${result.statusCode}`);
    }
  } catch (error) {
    crash(error);
  }
  process.exit(0);
}

module.exports = { run };
