"""`edgewatt run`: the daemon itself."""

from __future__ import annotations

import contextlib

import click

from agent.cli.session import Session, pass_session

_M_ARENA_MAX = -8  # of glibc's malloc.h


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Log details, too.")
@pass_session
def run(session: Session, verbose: bool) -> None:
    """Run the agent until it is told to stop (SIGTERM or Ctrl-C).

    It samples, stores, forecasts, watches costs and peaks, and sends everything to the centre as far as the network
    allows. The log goes to stderr.

    \b
    Example:
      edgewatt --config agent.toml run
    """
    import logging
    import os
    import sys

    # Before numpy is loaded: its algebra keeps megabytes for each thread, and the agent's matrices are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # sqlite-utils imports pandas where that happens to be installed: 80 MiB that the agent does not use.
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # None makes the import fail, as documented
    share_one_heap()
    from agent.daemon.build import build

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    build(session.config).run()


def share_one_heap() -> None:
    """Let the threads to come allocate where the first one does: by default glibc gives each a heap that only grows."""
    import ctypes

    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
