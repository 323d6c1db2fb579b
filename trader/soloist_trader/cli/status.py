"""`soloist-trader status` and `soloist-trader watch`: the engine's `/status` for people."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import click

DEFAULT_URL = "http://127.0.0.1:8080"
POLL_S = 0.25
SUMMARY_S = 2.0
BACKLOG_LINES = 10


def _fetch(url: str) -> dict[str, Any] | None:
    """`/status` of an engine, or None while it cannot be reached."""
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=3) as reply:  # noqa: S310 the user's own URL
            body = json.load(reply)
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.get("version") == 1 else None


@click.command()
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Admin address of the engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole status as JSON.")
def status(url: str, as_json: bool) -> None:
    """Show what the engine is, holds and did. Exits 1 if it cannot be reached."""
    body = _fetch(url)
    if body is None:
        click.echo(
            f"no engine answers at {url}/status; is it running, and is this its --admin address?",
            file=sys.stderr,
        )
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(body, indent=2))
        return
    bot, profit = body["bot"], body["profit"]
    click.echo(
        f"{bot['namespace']}/{bot['name']}  {body['mode']}  {body['strategy']}  venue {body['venueName']}"
    )
    click.echo(f"state    {body['state']}  {body['reason']}: {body['message']}")
    click.echo(f"epoch    {body['epoch']}  incarnation {body['incarnation']}  key {body['keyId'] or '-'}")
    click.echo(_profit_line(profit))
    for line in [*_journal_lines(body), *_discovery_lines(body)]:
        click.echo(line)
    _table("MARKET  BID  ASK  POSITION  AVERAGE  REALISED  FEES", _market_rows(body))
    rows = [
        _order_row(order)
        for order in body["orders"]
        if order["label"] in {"intended", "unknown", "working", "closing"}
    ]
    _table("UNSETTLED ORDER  MARKET  SIDE  PRICE  SIZE  FILLED  LABEL", rows)


def _profit_line(profit: dict[str, str]) -> str:
    return (
        f"profit   net {profit['net']}  realised {profit['realised']}  unrealised {profit['unrealised']}  "
        f"fees {profit['fees']}  today {profit['day']}"
    )


def _journal_lines(body: dict[str, Any]) -> list[str]:
    """How safe an order is before it is sent, what it costs, and the store that follows."""
    journal, store = body["journal"], body.get("store")
    lines = [f"journal  {journal['durability']}; {journal.get('commitWords', journal['commitMode'])}"]
    if journal["failed"]:
        lines.append(f"         FAILED: {journal['failed']}")
    if store is not None:
        running = "follows" if store["running"] else f"does not run: {store['problem'] or 'not begun yet'}"
        said = f"; {store['progress']}" if store["running"] and store["progress"] else ""
        lines.append(f"store    {running}{said}; ended {store['failures']} times")
    return lines


def _discovery_lines(body: dict[str, Any]) -> list[str]:
    """What was chosen from the series and why, and what was not."""
    found = body.get("discovery")
    if found is None:
        return []
    counts = "".join(f"; {count} left out by {rule}" for rule, count in found["leftOut"].items())
    head = (
        f"markets  {found['followed']} of {found['listed']} listed of series {', '.join(found['series'])} are followed{counts}; "
        f"looked at {found['lookedAt'] or 'nothing yet'}"
    )
    return [head, *(f"         {ticker}: {why}" for ticker, why in found["chosen"].items())]


def _market_rows(body: dict[str, Any]) -> list[list[str]]:
    held = {position["market"]: position for position in body["positions"]}
    rows = []
    for market in body["markets"]:
        position = held.get(market["market"], {})
        shown = "" if market["live"] else " (no book)"
        rows.append(
            [market["market"] + shown, market["bid"], market["ask"]]
            + [position.get(name, "-") for name in ("count", "averagePrice", "realised", "fees")]
        )
    return rows


def _order_row(order: dict[str, Any]) -> list[str]:
    return [order[name] for name in ("clientOrderId", "market", "side", "price", "size", "filled", "label")]


def _table(header: str, rows: list[list[str]]) -> None:
    if not rows:
        return
    names = header.split("  ")
    widths = [max(len(name), *(len(row[index]) for row in rows)) for index, name in enumerate(names)]
    for row in [names, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class _Follower:
    """Remembers what was printed, through restarts of the engine."""

    def __init__(self) -> None:
        self.incarnation = ""
        self._labels: dict[str, str] = {}
        self._fill = 0
        self._summary_s = 0.0
        self._summary = ""

    def take(self, body: dict[str, Any]) -> list[str]:
        """The lines that are new in a status; of what happened before the first one, the last few."""
        lines = [line for _, line in sorted(self._orders(body) + self._fills(body))]
        if body["incarnation"] != self.incarnation:
            self.incarnation = body["incarnation"]
            engine = (
                f"{body['publishedAt'][11:23]}  ENGINE  epoch {body['epoch']}, incarnation {self.incarnation}, "
                f"{body['mode']} on {body['venueName']}, {body['strategy']}"
            )
            lines = [engine, *lines[-BACKLOG_LINES:]]
        summary = _summarise(body)
        if summary != self._summary and time.monotonic() - self._summary_s > SUMMARY_S:
            self._summary, self._summary_s = summary, time.monotonic()
            lines.append(f"{body['publishedAt'][11:23]}  {summary}")
        return lines

    def _orders(self, body: dict[str, Any]) -> list[tuple[str, str]]:
        """(time, line) of each order whose label changed; of a life shorter than a poll, the end only."""
        before, self._labels = self._labels, {}
        changed = []
        for order in body["orders"]:
            name = order["clientOrderId"]
            self._labels[name] = order["label"]
            if before.get(name) != order["label"]:
                changed.append((order["updatedAt"], _order_line(order)))
        return changed

    def _fills(self, body: dict[str, Any]) -> list[tuple[str, str]]:
        if body["incarnation"] != self.incarnation:
            self._fill = 0  # a new process counts its fills from one
        fresh = [fill for fill in body["fills"] if fill["number"] > self._fill]
        if fresh:
            self._fill = fresh[-1]["number"]
        return [(fill["at"], _fill_line(fill)) for fill in fresh]


def _summarise(body: dict[str, Any]) -> str:
    held = [f"{row['market']} {row['count']}" for row in body["positions"] if float(row["count"])]
    profit = {name: f"{float(value):+.2f}" for name, value in body["profit"].items()}
    return (
        f"{body['state']:<8}net {profit['net']}  realised {profit['realised']}  unrealised {profit['unrealised']}  "
        f"fees {float(body['profit']['fees']):.2f}  |  {', '.join(held) or 'flat'}"
    )


def _order_line(order: dict[str, Any]) -> str:
    return (
        f"{order['updatedAt'][11:23]}  order   {order['market']:<14} {order['side']:<3} {order['size']:>8} @ "
        f"{order['price']}  {order['label']:<9}  {order['level']:<5}  {order['clientOrderId']} {order['code']}"
    ).rstrip()


def _fill_line(fill: dict[str, Any]) -> str:
    kind = "taker" if fill["taker"] else "maker"
    return (
        f"{fill['at'][11:23]}  FILL    {fill['market']:<14} {fill['side']:<3} {fill['size']:>8} @ {fill['price']}  "
        f"{kind:<9}  fee {fill['fee']}"
    )


@click.command()
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Admin address of the engine.")
@click.option(
    "--for", "duration_s", type=float, default=0, help="Stop after so many seconds. Default: never."
)
def watch(url: str, duration_s: float) -> None:
    """Follow orders, fills, position and profit as they happen, through restarts of the engine. Ctrl-C ends it."""
    follower, answered = _Follower(), True
    end_s = time.monotonic() + duration_s if duration_s else float("inf")
    try:
        while time.monotonic() < end_s:
            body = _fetch(url)
            if body is None:
                if answered:
                    click.echo(f"{'':12}  no engine answers at {url}; waiting for it")
                answered = False
            else:
                answered = True
                for line in follower.take(body):
                    click.echo(line)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return
