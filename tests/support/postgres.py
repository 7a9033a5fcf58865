"""A real PostgreSQL on a free loopback port, for tests of the central database.

It decides how the server is found, made, started and ended, and gives out empty databases; it knows no tables. Durability is
switched off (`fsync=off`) unless it is asked for: these tests are about SQL, locks and transactions, not about power cuts. A
superuser's server is run as the user `postgres`, because PostgreSQL refuses to run as root.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg

from tests.support.broker import HOST, free_port

_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0
_INSTALL = "PostgreSQL 15 is missing: sudo apt-get install postgresql"


class PostgresError(RuntimeError):
    """PostgreSQL is missing or did not start; the message says what to do."""


def find_binaries() -> Path:
    """The folder that holds `initdb` and `postgres`.

    Raises:
        PostgresError: It is not installed; the message is the command to type.
    """
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    usable = [folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not usable:
        raise PostgresError(_INSTALL)
    return usable[-1]


class Postgres:
    """One running server; `database()` makes an empty database and returns its URL."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = count(1)

    def database(self) -> str:
        """URL of a new, empty database."""
        name = f"centre_{next(self._numbers)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name)

    def _address(self, name: str) -> str:
        return f"postgresql://postgres@{HOST}:{self._port}/{name}"


@contextlib.contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A started server, ended and removed on leaving, whatever happens inside; a `durable` one waits for its disk.

    Raises:
        PostgresError: PostgreSQL is missing or does not start.
    """
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="edgewatt-postgres-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data, log, port = folder / "data", folder / "postgres.log", free_port()
    try:
        _run(
            [
                *as_user,
                str(binaries / "initdb"),
                "-D",
                str(data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ]
        )
        lifeline = ["--pdeathsig", "INT"] if as_user else []
        settings = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
        settings["fsync"] = "on" if durable else "off"
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*as_user, *lifeline, str(binaries / "postgres"), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        try:
            _wait_until_ready(process, port, log)
            yield Postgres(port)
        finally:
            process.send_signal(2)  # fast shutdown: clients are cut off
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(f"postgresql://postgres@{HOST}:{port}/postgres", connect_timeout=2),
        ):
            return
        time.sleep(0.05)
    raise PostgresError(f"PostgreSQL did not start; its log:\n{log.read_text(errors='replace')}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise PostgresError(f"{command} failed:\n{done.stdout}{done.stderr}")
