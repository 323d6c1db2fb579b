"""Run a program and say clearly what went wrong."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.errors import CommandError, MissingError


def tied(*words: str, signal: str = "KILL") -> list[str]:
    """Return a command line whose process gets a signal when we die, so that even a killed run leaves nothing at work.

    Linux can do that, by `setpriv` of util-linux; elsewhere the command is as it was.
    """
    return [*(("setpriv", "--pdeathsig", signal, "--") if shutil.which("setpriv") else ()), *words]


def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    check: bool = True,
) -> str:
    """Run a program to its end and return its standard output.

    `env` is added to our own environment. Without `stdin` the program gets an empty one, so nothing ever waits
    for a keyboard. Raises CommandError on a bad status (unless `check` is false) and on overrun, MissingError
    when there is no such program.
    """
    words = [str(word) for word in argv]
    if shutil.which(words[0]) is None:
        raise MissingError(
            f"the program `{words[0]}` is not there; `python -m tests.cluster setup` brings it"
        )
    try:
        done = subprocess.run(
            tied(*words),
            input=stdin or "",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(words, f"did not end within {timeout_s} s", "") from error
    if check and done.returncode != 0:
        raise CommandError(words, f"ended with status {done.returncode}", done.stdout + done.stderr)
    return done.stdout


def succeeds(*argv: str | Path, env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> bool:
    """Tell whether a program ends with status 0 in time."""
    try:
        run(*argv, env=env, timeout_s=timeout_s)
    except (CommandError, MissingError):
        return False
    return True


def pipe(source: list[str], sink: list[str], env: Mapping[str, str] | None = None) -> str:
    """Run `source | sink` and return what the sink prints. Raises CommandError when either fails."""
    environment = {**os.environ, **(env or {})}
    with subprocess.Popen(
        source, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment
    ) as writer:
        reader = subprocess.run(
            sink, stdin=writer.stdout, env=environment, capture_output=True, text=True, check=False
        )
        if writer.stdout is not None:
            writer.stdout.close()  # a sink that died early must end the source, not block it
    if writer.returncode != 0 or reader.returncode != 0:
        status = f"ended with status {writer.returncode} | {reader.returncode}"
        raise CommandError([*source, "|", *sink], status, reader.stdout + reader.stderr)
    return reader.stdout


def pip() -> list[str]:
    """Return the command line of this interpreter's pip."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
