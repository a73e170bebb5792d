"""The environment, read once. An invalid value is one clear line and exit code 64, before any port is bound."""

from .limits import Limits, container_memory
from .log import fail

EXIT_USAGE = 64
DEFAULT_PORT = 8080
DEFAULT_FUNCTION_PATH = "/app/function"
DEFAULT_THREADS = 32
DEFAULT_MAX_CONNECTIONS = 4096
DEFAULT_DRAIN_SECONDS = 30
DEFAULT_KEEPALIVE_SECONDS = 75
DEFAULT_INSTALL_SECONDS = 300
DEFAULT_WRITE_SECONDS = 60
MOST_BYTES = 2**40
# What delivers these is the poller, by POST /event; a request that comes any other way is plain HTTP.
EVENT_KINDS = frozenset(("postgres", "mysql", "redis", "minio"))


class Config:
    """What a start needs to know; sizes in bytes, times in seconds."""

    def __init__(self, env):
        self.mode = one_of(env, "KIPPER_MODE", ("http", "batch"))
        self.trigger = env.get("KIPPER_TRIGGER") or "http"
        self.request_trigger = "http" if self.trigger in EVENT_KINDS else self.trigger
        self.event_token = env.get("KIPPER_EVENT_TOKEN") or ""
        self.error_detail = one_of(env, "KIPPER_ERROR_DETAIL", ("false", "true")) == "true"
        self.log_requests = one_of(env, "KIPPER_LOG_REQUESTS", ("false", "true")) == "true"
        self.host = env.get("KIPPER_HOST") or "0.0.0.0"
        self.port = integer(env, "PORT", DEFAULT_PORT, 0, 65535)
        self.function_path = env.get("KIPPER_FUNCTION_PATH") or DEFAULT_FUNCTION_PATH
        self.handler = env.get("KIPPER_HANDLER") or ""
        self.work_dir = env.get("KIPPER_WORK_DIR") or ""
        self.threads = integer(env, "KIPPER_THREADS", DEFAULT_THREADS, 1, 4096)
        self.limits = Limits(
            max_body=integer(env, "KIPPER_MAX_BODY", None, 0, 2**30),
            body_memory=integer(env, "KIPPER_BODY_MEMORY", None, 0, MOST_BYTES),
            memory=integer(env, "KIPPER_MEMORY_LIMIT", None, 1, MOST_BYTES) or container_memory(),
        )
        self.max_connections = integer(env, "KIPPER_MAX_CONNECTIONS", DEFAULT_MAX_CONNECTIONS, 1, 2**20)
        self.drain_seconds = integer(env, "KIPPER_DRAIN_SECONDS", DEFAULT_DRAIN_SECONDS, 0, 86400)
        self.keepalive_seconds = integer(env, "KIPPER_KEEPALIVE_SECONDS", DEFAULT_KEEPALIVE_SECONDS, 1, 3600)
        self.write_seconds = integer(env, "KIPPER_WRITE_SECONDS", DEFAULT_WRITE_SECONDS, 1, 3600)
        self.install_seconds = integer(env, "KIPPER_INSTALL_SECONDS", DEFAULT_INSTALL_SECONDS, 1, 86400)


def read(env):
    return Config(env)


def integer(env, name, default, low, high):
    text = env.get(name)
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 13 and low <= int(text) <= high:
        return int(text)
    fail(f'{name} must be a whole number from {low} to {high}, not "{text}"', code=EXIT_USAGE)


def one_of(env, name, values):
    value = env.get(name) or values[0]
    if value in values:
        return value
    fail(f'{name} must be one of {", ".join(values)}, not "{value}"', code=EXIT_USAGE)
