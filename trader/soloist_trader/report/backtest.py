"""The report of a backtest as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from soloist_trader.core.units import ONE_CONTRACT, ONE_DOLLAR, ONE_DOLLAR_PRICE, SIDE_NAMES
from soloist_trader.modes.backtest import Peek, Point, Run
from soloist_trader.modes.figures import Figures
from soloist_trader.report import svg

MAXIMUM_FILLS: Final = 1_000
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15rem .9rem .15rem 0;text-align:left}
td.n,th.n{text-align:right}figure{margin:1rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:#5a6875}.grid{stroke:#e3e8ed}.zero{stroke:#9aa7b3}
.line{fill:none;stroke:#1f6feb;stroke-width:1.5}.area{fill:#d1242f22}.gain{fill:#2da44e}.loss{fill:#d1242f}
.warn{background:#fff3cd;padding:.5rem .8rem}.note{color:#5a6875}
@media (prefers-color-scheme:dark){body{background:#12171d;color:#dbe3ea}.warn{color:#1c2733}.grid{stroke:#2a333c}}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was tested."""

    data: str
    strategy: str
    parameters: dict[str, Any]
    latency_ms: int
    fees: str


def dollars(money: float) -> str:
    """Money as dollars and cents, signed."""
    return f"{money / ONE_DOLLAR:+,.2f}"


def render(subject: Subject, run: Run, made: Figures, peek: Peek | None, *, checked: bool) -> str:
    """The whole file. Everything that comes from outside is escaped; nothing is loaded from anywhere."""
    equity = [(float(point.time_ms), float(point.equity)) for point in run.equity]
    parts = [
        f"<h1>Backtest of {escape(subject.strategy)}</h1>",
        _introduction(subject, run),
        _judgement(peek, checked=checked),
        _numbers(made),
        svg.line(equity, "Profit after fees, open positions included (dollars)", dollars),
        svg.line(_falls(run.equity), "Drawdown from the last high (dollars)", dollars, filled=True),
        svg.bars(
            [(market, float(profit)) for market, profit in made.by_market.items()],
            "Realised profit after fees by market (dollars)",
            dollars,
        ),
        _parameters(subject.parameters),
        _denials(run),
        _fills(run),
    ]
    title = f"Backtest of {escape(subject.strategy)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _introduction(subject: Subject, run: Run) -> str:
    return (
        f'<p class="note">{escape(subject.data)}, {_moment(run.begin_ms)} to {_moment(run.end_ms)}. Fills are simulated: '
        f"queue position, {subject.latency_ms} ms each way, fees {escape(subject.fees)}. Past data promise nothing.</p>"
    )


def _judgement(peek: Peek | None, *, checked: bool) -> str:
    if not checked:
        return '<p class="warn">Look-ahead was not checked.</p>'
    if peek is None:
        return (
            "<p>Look-ahead check: passed. With later data taken away, every earlier decision is the same. A strategy that opens "
            "the data itself, or was fitted to them beforehand, is not seen by it.</p>"
        )
    return (
        '<p class="warn"><b>Look-ahead check: FAILED.</b> A decision before '
        f"{_moment(peek.cut_ms)} changes when only later data are taken away: {escape(peek.with_all)} became "
        f"{escape(peek.with_less)}. The figures below mean nothing.</p>"
    )


def _numbers(made: Figures) -> str:
    rows = [
        ("Profit after fees", dollars(made.profit)),
        ("Fees", dollars(made.fees)),
        ("Deepest drawdown", dollars(-made.drawdown)),
        (
            "Sharpe ratio (minutes, a year of 365 days)",
            "too short" if made.sharpe is None else f"{made.sharpe:.2f}",
        ),
        ("Win rate of round trips", "none ended" if made.win_rate is None else f"{made.win_rate:.1%}"),
        ("Round trips", str(len(made.trips))),
        ("Orders, fills", f"{made.orders}, {made.fills}"),
        ("Contracts traded", f"{made.contracts / ONE_CONTRACT:,.2f}"),
        (
            "Open at the end",
            ", ".join(
                f"{market} {count / ONE_CONTRACT:+.2f}" for market, count in made.open_positions.items()
            )
            or "nothing",
        ),
    ]
    cells = "".join(
        f'<tr><th>{escape(name)}</th><td class="n">{escape(value)}</td></tr>' for name, value in rows
    )
    return f"<table>{cells}</table>"


def _falls(equity: list[Point]) -> list[tuple[float, float]]:
    high, found = 0, []
    for point in equity:
        high = max(high, point.equity)
        found.append((float(point.time_ms), float(point.equity - high)))
    return found


def _parameters(parameters: dict[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in parameters.items()
    )
    return f"<h2>Parameters</h2><table>{cells}</table>"


def _denials(run: Run) -> str:
    denials = run.engine.denials
    if not denials:
        return ""
    cells = "".join(
        f'<tr><th>{escape(str(code))}</th><td class="n">{count}</td></tr>'
        for code, count in sorted(denials.items())
    )
    return f"<h2>Orders denied by the risk table</h2><table>{cells}</table>"


def _fills(run: Run) -> str:
    fills = run.fills[:MAXIMUM_FILLS]
    cells = "".join(
        f"<tr><td>{_moment(fill.time_ms)}</td><td>{escape(fill.market)}</td><td>{SIDE_NAMES[fill.side]}</td>"
        f'<td class="n">{fill.size / ONE_CONTRACT:.2f}</td><td class="n">{fill.price / ONE_DOLLAR_PRICE:.4f}</td>'
        f'<td class="n">{fill.fee / ONE_DOLLAR:.4f}</td><td>{"taker" if fill.is_taker else "maker"}</td></tr>'
        for fill in fills
    )
    more = (
        f'<p class="note">The first {MAXIMUM_FILLS} of {len(run.fills)}.</p>'
        if len(run.fills) > len(fills)
        else ""
    )
    head = (
        '<tr><th>time</th><th>market</th><th>side</th><th class="n">contracts</th><th class="n">price</th>'
        '<th class="n">fee</th><th></th></tr>'
    )
    return f"<h2>Fills</h2>{more}<table>{head}{cells}</table>"
