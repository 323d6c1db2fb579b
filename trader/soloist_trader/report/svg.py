"""Pictures as SVG text: a line over time, an area below zero, bars. Sizes in pixels, values in any unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 900
HEIGHT: Final = 240
LEFT: Final = 80
RIGHT: Final = 10
TOP: Final = 12
BOTTOM: Final = 28
MAXIMUM_POINTS: Final = 1_500
"""More points than this share pixels; of each group the lowest and the highest are drawn."""
_GRID_LINES: Final = 4
_LABELS: Final = 5
_DAY_MS: Final = 86_400_000

Text = Callable[[float], str]
"""A value as a person reads it."""


class _Frame(NamedTuple):
    """Where values lie on the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Pixels from the left."""
        span = (self.x_high - self.x_low) or 1
        return LEFT + (value - self.x_low) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        span = (self.y_high - self.y_low) or 1
        return TOP + (self.y_high - value) / span * (HEIGHT - TOP - BOTTOM)


def thin(points: Sequence[tuple[float, float]], most: int = MAXIMUM_POINTS) -> list[tuple[float, float]]:
    """At most about `most` points; the lowest and the highest of each group stay, so no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) * 2 // most)
    kept: list[tuple[float, float]] = []
    for begin in range(0, len(points), size):
        group = points[begin : begin + size]
        ends = {min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def line(points: Sequence[tuple[float, float]], title: str, text: Text, *, filled: bool = False) -> str:
    """A line over Unix milliseconds; `filled` colours what is between it and zero."""
    if not points:
        return _picture(title, '<text x="450" y="120" text-anchor="middle">nothing to show</text>')
    times, values = [point[0] for point in points], [point[1] for point in points]
    frame = _Frame(min(times), max(times), min(0.0, *values), max(0.0, *values))
    drawn = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in thin(points))
    body = _grid(frame, text) + _times(frame)
    if filled:
        zero = f"{frame.y(0):.1f}"
        body += f'<polygon class="area" points="{frame.x(times[0]):.1f},{zero} {drawn} {frame.x(times[-1]):.1f},{zero}"/>'
    return _picture(title, body + f'<polyline class="line" points="{drawn}"/>')


def bars(rows: Sequence[tuple[str, float]], title: str, text: Text) -> str:
    """One bar for each name, below zero in another colour."""
    if not rows:
        return _picture(title, '<text x="450" y="120" text-anchor="middle">nothing to show</text>')
    values = [value for _, value in rows]
    frame = _Frame(0, len(rows), min(0.0, *values), max(0.0, *values))
    body = _grid(frame, text)
    for number, (name, value) in enumerate(rows):
        left, right = frame.x(number + 0.15), frame.x(number + 0.85)
        top, bottom = sorted((frame.y(value), frame.y(0)))
        kind = "gain" if value >= 0 else "loss"
        body += (
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(name)}: {escape(text(value))}</title></rect>"
            f'<text x="{(left + right) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name)}</text>'
        )
    return _picture(title, body)


def _grid(frame: _Frame, text: Text) -> str:
    drawn = ""
    for number in range(_GRID_LINES + 1):
        value = frame.y_low + (frame.y_high - frame.y_low) * number / _GRID_LINES
        y = f"{frame.y(value):.1f}"
        drawn += f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        drawn += f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{escape(text(value))}</text>'
    zero = f"{frame.y(0):.1f}"
    return drawn + f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero}" y2="{zero}"/>'


def _times(frame: _Frame) -> str:
    pattern = "%m-%d %H:%M" if frame.x_high - frame.x_low > _DAY_MS else "%H:%M:%S"
    drawn = ""
    for number in range(_LABELS):
        moment = frame.x_low + (frame.x_high - frame.x_low) * number / (_LABELS - 1)
        shown = datetime.fromtimestamp(moment / 1000, UTC).strftime(pattern)
        anchor = "start" if number == 0 else "end" if number == _LABELS - 1 else "middle"
        drawn += f'<text x="{frame.x(moment):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{shown}</text>'
    return drawn


def _picture(title: str, body: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg></figure>'
    )
