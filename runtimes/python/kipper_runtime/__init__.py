"""The wrapper that loads one inline Python function and serves it. Standard library only.

Modules are imported where they are first used whenever a start can do without them: each import on the way to
listening is paid for by somebody who waits for a cold start. `asyncio`, for one, is only loaded for async handlers, and
the server after the port is bound. `tests/test_load.py` has the list.
"""
