"""`soloist-trader keys` and `soloist-trader watchdog`: key files on their way to the engine."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

POLL_S = 0.5
_FIELD = "spec.account.keySecretRef"


def _options(command: click.Command) -> click.Command:
    for option in (
        click.Option(
            ["--to", "target"], type=click.Path(path_type=Path), required=True, help="Key directory."
        ),
        click.Option(
            ["--from", "source"],
            type=click.Path(path_type=Path),
            required=True,
            help="Directory of the mounted Secret.",
        ),
    ):
        command.params.insert(0, option)
    return command


@click.command(name="keys")
@click.argument("verb", type=click.Choice(["copy"]), default="copy", required=False)
def _keys(verb: str, source: Path, target: Path) -> None:  # noqa: ARG001 the only verb
    """Copy a Secret's key files where the engine reads them, mode 0400, in one atomic step.

    A Secret volume is readable by its group (Kubernetes 57923), a key must not be. Exits 2 with a termination message
    when the Secret is missing or lacks entries: `key-id` and `private-key.pem`, or `g<G>.key-id` and
    `g<G>.private-key.pem`.
    """
    from soloist_trader.errors import KeysError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.shell.keys import copy_keys  # noqa: PLC0415 as above
    from soloist_trader.shell.termination import write_termination  # noqa: PLC0415 as above

    try:
        copied = copy_keys(source, target)
    except KeysError as error:
        write_termination("KeysUnusable", str(error), [(_FIELD, str(error))])
        click.echo(f"KeysUnusable: {error}", err=True)
        sys.exit(2)
    click.echo(f"keys copied to {copied}")


@click.command(name="watchdog")
@click.option("--config", type=click.Path(path_type=Path), help="The engine's configuration; not used yet.")
def _watchdog(config: Path | None, source: Path, target: Path) -> None:  # noqa: ARG001 accepted for the pod's command line
    """Keep the engine's key directory equal to the mounted Secret (key rotation), until SIGTERM.

    Follows the Secret volume's `..data` link, which the kubelet moves in one step. This version does nothing else: it
    does not yet watch the engine, does not kill a silent one and cancels no orders; that comes with the watchdog's own
    issue, and until then liveness probes and the operator's takeover do it.
    """
    from soloist_trader.errors import KeysError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.shell import logs  # noqa: PLC0415 as above
    from soloist_trader.shell.keys import copy_keys  # noqa: PLC0415 as above

    logs.configure()
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    seen: object = None
    said = ""
    while not stop.is_set():
        now = _fingerprint(source)
        if now != seen:
            try:
                copied = copy_keys(source, target)
            except KeysError as error:
                if str(error) != said:
                    said = str(error)
                    logs.log("KeysUnusable", f"{error} The engine keeps the keys that it has.")
            else:
                seen, said = now, ""
                logs.log("KeysCopied", f"keys copied to {copied}")
        stop.wait(POLL_S)


def _fingerprint(source: Path) -> object:
    """Changes whenever the kubelet moves `..data`, or a plain file changes."""
    link = source / "..data"
    if link.is_symlink():
        return link.readlink()
    try:
        return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in source.iterdir()))
    except OSError as error:
        return str(error)


keys = _options(_keys)
watchdog = _options(_watchdog)
