"""`soloist-exchange scenarios`, `switches` and `tape`: what there is to choose from, and recordings."""

from pathlib import Path

import click

from soloist_exchange import scenario, tape
from soloist_exchange.cli_options import FORMATS, print_rows
from soloist_exchange.errors import ExchangeError
from soloist_exchange.flow_record import record
from soloist_exchange.switches import described

__all__ = ["scenarios", "switches", "tapes"]

LONGEST_MINUTES = 7 * 24 * 60


@click.group(invoke_without_command=True, short_help="What the exchange can play.")
@FORMATS
@click.pass_context
def scenarios(context: click.Context, *, as_json: bool) -> None:
    """List the built-in scenarios: name, number of markets, description.

    \b
    soloist-exchange scenarios show demo > mine.yaml      # a beginning for one of your own
    soloist-exchange scenarios check mine.yaml
    """  # noqa: D301 - click wants the character itself, not its name
    if context.invoked_subcommand is not None:
        return
    if as_json:
        rows = [
            {"name": item.name, "markets": len(item.plans), "description": item.description}
            for item in scenario.SCENARIOS.values()
        ]
        print_rows(rows, as_json=True)
        return
    for item in scenario.SCENARIOS.values():
        click.echo(f"{item.name}\t{len(item.plans)} markets\t{item.description}")


@scenarios.command(name="show")
@click.argument("name")
def scenarios_show(name: str) -> None:
    """Print a scenario, built in or from a file, as YAML. What is not printed is as it would be anyway."""
    try:
        click.echo(scenario.as_yaml(scenario.load(name, _checked)), nl=False)
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error


@scenarios.command(name="check")
@click.argument("name")
def scenarios_check(name: str) -> None:
    """Judge a scenario's file; complaints name file, line and field."""
    try:
        found = scenario.load(name, _checked)
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{found.name}\t{len(found.plans)} markets\t{len(found.script)} actions")


@click.command(short_help="What the venue's documents leave open, and what this exchange does.")
@FORMATS
def switches(*, as_json: bool) -> None:
    """List how this exchange behaves where the venue's documents leave a question open.

    Columns: name, value, meaning, choices, section of the contract. Set one with `serve --switch NAME=VALUE`.
    """
    rows = [
        {
            "name": item.name,
            "value": item.value,
            "meaning": item.meaning,
            "choices": list(item.choices),
            "section": item.section,
        }
        for item in described()
    ]
    print_rows(rows, as_json=as_json)


@click.group(short_help="Record and check tapes of a market.")
def tapes() -> None:
    """Recordings of everything that the exchange's own participants send.

    \b
    soloist-exchange tape record --out rain.tape --scenario demo --seed 7 --minutes 30
    printf 'name: again\\ntape: rain.tape\\n' > again.yaml
    soloist-exchange serve --scenario again.yaml --state-dir state
    """  # noqa: D301 - click wants the character itself, not its name


@tapes.command(name="record")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The tape; appears when it is whole.",
)
@click.option(
    "--scenario", "scenario_name", default="demo", show_default=True, help="A built-in name, or a YAML file."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed makes the same tape, byte for byte."
)
@click.option(
    "--minutes",
    type=click.IntRange(1, LONGEST_MINUTES),
    help="How long, by the markets' clock. [default: 10, or what the tape has that is recorded again]",
)
def tape_record(out: Path, scenario_name: str, seed: int, minutes: int | None) -> None:
    """Let the participants trade on a virtual clock, as fast as this machine can, and write down what they send.

    Prints what `tape check` prints. A scenario that is itself a tape is recorded again with the tape's own seed.
    """
    try:
        plan = scenario.load(scenario_name, _checked)
        record(plan, seed, minutes, out, _recorded)
        _describe(out)
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error


@tapes.command(name="check")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def tape_check(file: Path) -> None:
    """Read a whole tape; a damaged one is refused with the number of its first bad record.

    Prints one line: markets, minutes, records, orders, seed.
    """
    try:
        _describe(file)
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error


def _describe(file: Path) -> None:
    summary = tape.verify(file, _checked)
    header = tape.read_header(file)
    click.echo(
        f"{len(header.tickers)} markets\t{header.minutes} minutes\t{summary.records} records"
        f"\t{summary.placed} orders\tseed {header.seed}"
    )


def _checked(records: int) -> None:
    click.echo(f"checked {records} records", err=True)


def _recorded(done_ms: int, all_ms: int) -> None:
    click.echo(f"recorded {done_ms // 1000} of {all_ms // 1000} seconds", err=True)
