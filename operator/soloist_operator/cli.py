"""`soloist-operator run`: the operator as a process."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click
from prometheus_client import start_http_server

from soloist_operator import app, settings
from soloist_operator.errors import SettingsError
from soloist_operator.metrics import Metrics
from soloist_operator.service import Service

SETTINGS_FILE = Path("/etc/soloist/settings.yaml")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="In a cluster the chart runs it. From a checkout: soloist-operator run --settings FILE --kubeconfig FILE",
)
def main() -> None:
    """Keep TradingBots as their owners declared them: one engine per account, whatever happens to its node."""


@main.command()
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path),
    default=SETTINGS_FILE,
    show_default=True,
    help="YAML with the operator's settings; the chart renders it from its values.",
)
@click.option(
    "--metrics-port", type=int, default=9090, show_default=True, help="Prometheus metrics; 0 for none."
)
@click.option(
    "--probe-port", type=int, default=8081, show_default=True, help="/healthz for liveness; 0 for none."
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False),
    help="Connect as this file says, for work outside a cluster. Default: the pod's service account.",
)
@click.option(
    "--after-restore",
    is_flag=True,
    help="The cluster was restored from a backup: open a new epoch, above everything that is seen, for every AccountClaim that this "
    "process meets, before anything of the old one is believed. Start without it the next time.",
)
@click.option(
    "--log-level",
    default="INFO",
    show_default=True,
    type=click.Choice(["DEBUG", "INFO", "WARNING"]),
    help="Least severity of the lines on stderr.",
)
def run(
    settings_file: Path,
    metrics_port: int,
    probe_port: int,
    kubeconfig: str | None,
    log_level: str,
    *,
    after_restore: bool,
) -> None:
    """Run until a signal ends it."""
    logging.basicConfig(
        level=log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for noisy in (
        "aiohttp.access",
        "kopf.activities",
        "kopf.objects",
    ):  # a line per probe or event is no news
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        loaded = settings.load(settings_file)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    if kubeconfig is not None:
        os.environ["KUBECONFIG"] = kubeconfig  # where kopf looks for it
    metrics = Metrics()
    if metrics_port:
        start_http_server(metrics_port, registry=metrics.registry)
    service = Service(loaded, metrics, kubeconfig=kubeconfig, after_restore=after_restore)
    app.run(service, loaded.watch_namespaces, kubeconfig=kubeconfig, probe_port=probe_port or None)


if __name__ == "__main__":
    main()
