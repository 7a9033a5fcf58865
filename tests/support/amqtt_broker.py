"""A real amqtt on a free loopback port: a broker that knows no MQTT 5."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.support.broker import free_port

_BROKER = """
import asyncio, logging, sys
from amqtt.broker import Broker
logging.disable(logging.CRITICAL)
async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1], "max_connections": 10}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def running_amqtt() -> Iterator[int]:
    """The port of a started broker, which is ended on leaving."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _BROKER, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as broker:
        try:
            assert broker.stdout is not None
            assert broker.stdout.readline() == b"ready\n"
            yield port
        finally:
            broker.terminate()
