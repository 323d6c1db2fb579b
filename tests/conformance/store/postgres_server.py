"""A PostgreSQL server of the tests' own: installed when it is missing, started without TCP, ended by its process id."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.cluster.errors import MissingError
from tests.cluster.packages import ensure
from tests.cluster.progress import Progress

USER = "soloist"
PROGRAMS = {"initdb": ["postgresql"], "postgres": ["postgresql"]}
DEBIAN = "/usr/lib/postgresql"
START_S = 60
END_S = 60


def find_programs() -> Path:
    """The directory of initdb and postgres. Debian keeps them outside of PATH. Raises MissingError."""
    found = _programs()
    if found is None:
        ensure(PROGRAMS, Progress())
        found = _programs()
    if found is None:
        raise MissingError(
            "PostgreSQL's initdb and postgres are neither in PATH nor below /usr/lib/postgresql, though the Debian "
            "package postgresql is installed; put them into PATH"
        )
    return found


def _programs() -> Path | None:
    def version(path: Path) -> int:
        name = path.parent.name
        return int(name) if name.isdigit() else 0

    candidates = sorted(Path(DEBIAN).glob("*/bin"), key=version, reverse=True)
    which = shutil.which("initdb")
    if which:
        candidates.append(Path(which).resolve().parent)
    return next((path for path in candidates if all((path / program).exists() for program in PROGRAMS)), None)


def _unprivileged() -> dict[str, int]:
    """Arguments of Popen that give up root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid}


class PostgresServer:
    """One server with a data directory and a socket in a temporary directory."""

    def __init__(self) -> None:
        programs = find_programs()
        # A socket's path may have 107 bytes, so it does not live below pytest's long directories.
        self.directory = Path(tempfile.mkdtemp(prefix="soloist-pg-"))
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = programs
        user = _unprivileged()
        if user:
            os.chown(self.directory, user["user"], user["group"])
        try:
            self._make(user)
            self._start(user)
        except BaseException:
            self.close()
            raise

    def _make(self, user: dict[str, int]) -> None:
        words = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--username={USER}"]
        made = subprocess.run(
            [self._programs / "initdb", *words, "-D", self.directory / "data"],
            cwd=self.directory, env=self._environment(), capture_output=True, text=True, check=False,
            timeout=START_S, **user,
        )  # fmt: skip
        assert made.returncode == 0, f"initdb failed:\n{made.stdout}{made.stderr}"

    def _start(self, user: dict[str, int]) -> None:
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(self.directory), "fsync": "off",
            "max_connections": "20", "shared_buffers": "16MB",
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.directory / "data", *options],
                cwd=self.directory, env=self._environment(), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True, **user,
            )  # fmt: skip
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        # pg_isready would need a loop of ours as well; the status line of the lock file is what pg_ctl waits for.
        lock = self.directory / "data" / "postmaster.pid"
        for _ in range(START_S * 10):
            if self._process.poll() is not None:
                raise AssertionError(f"PostgreSQL ended:\n{(self.directory / 'log').read_text()}")
            if lock.exists() and "ready" in lock.read_text().split("\n")[-2:][0]:
                return
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"PostgreSQL is not ready:\n{(self.directory / 'log').read_text()}")

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def new_database(self) -> str:
        """The URL of a database that nobody has used."""
        name = f"store_{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self.directory}"

    def close(self) -> None:
        """End it by its process id at once, for nothing in it is kept, and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.directory)
