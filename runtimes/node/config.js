'use strict';
// The environment, read once. An invalid value is one clear line and exit code 64, before any port is bound.

const { Limits, containerMemory } = require('./limits');
const { fail } = require('./log');

const EXIT_USAGE = 64;
const DEFAULT_PORT = 8080;
const DEFAULT_FUNCTION_PATH = '/app/function';
const DEFAULT_MAX_CONNECTIONS = 4096;
const DEFAULT_DRAIN_SECONDS = 30;
const DEFAULT_KEEPALIVE_SECONDS = 75;
const DEFAULT_INSTALL_SECONDS = 300;
const DEFAULT_WRITE_SECONDS = 60;
const MOST_BYTES = 2 ** 40;
// What delivers these is the poller, by POST /event; a request that comes any other way is plain HTTP.
const EVENT_KINDS = new Set(['postgres', 'mysql', 'redis', 'minio']);

function readConfig(env) {
  const trigger = env.KIPPER_TRIGGER || 'http';
  return {
    mode: oneOf(env, 'KIPPER_MODE', ['http', 'batch']),
    trigger,
    requestTrigger: EVENT_KINDS.has(trigger) ? 'http' : trigger,
    eventToken: env.KIPPER_EVENT_TOKEN || '',
    errorDetail: oneOf(env, 'KIPPER_ERROR_DETAIL', ['false', 'true']) === 'true',
    logRequests: oneOf(env, 'KIPPER_LOG_REQUESTS', ['false', 'true']) === 'true',
    host: env.KIPPER_HOST || '0.0.0.0',
    port: integer(env, 'PORT', DEFAULT_PORT, 0, 65535),
    functionPath: env.KIPPER_FUNCTION_PATH || DEFAULT_FUNCTION_PATH,
    handler: env.KIPPER_HANDLER || '',
    workDir: env.KIPPER_WORK_DIR || '',
    limits: new Limits({
      maxBody: integer(env, 'KIPPER_MAX_BODY', undefined, 0, 2 ** 30),
      bodyMemory: integer(env, 'KIPPER_BODY_MEMORY', undefined, 0, MOST_BYTES),
      memory: integer(env, 'KIPPER_MEMORY_LIMIT', undefined, 1, MOST_BYTES) ?? containerMemory(),
    }),
    maxConnections: integer(env, 'KIPPER_MAX_CONNECTIONS', DEFAULT_MAX_CONNECTIONS, 1, 2 ** 20),
    drainMs: 1000 * integer(env, 'KIPPER_DRAIN_SECONDS', DEFAULT_DRAIN_SECONDS, 0, 86400),
    keepAliveMs: 1000 * integer(env, 'KIPPER_KEEPALIVE_SECONDS', DEFAULT_KEEPALIVE_SECONDS, 1, 3600),
    writeMs: 1000 * integer(env, 'KIPPER_WRITE_SECONDS', DEFAULT_WRITE_SECONDS, 1, 3600),
    installMs: 1000 * integer(env, 'KIPPER_INSTALL_SECONDS', DEFAULT_INSTALL_SECONDS, 1, 86400),
  };
}

function integer(env, name, fallback, min, max) {
  if (!env[name]) return fallback;
  const value = Number(env[name]);
  if (/^\d+$/.test(env[name]) && value >= min && value <= max) return value;
  return fail(`${name} must be a whole number from ${min} to ${max}, not "${env[name]}"`, undefined, EXIT_USAGE);
}

function oneOf(env, name, values) {
  const value = env[name] || values[0];
  if (values.includes(value)) return value;
  return fail(`${name} must be one of ${values.join(', ')}, not "${value}"`, undefined, EXIT_USAGE);
}

module.exports = { readConfig };
