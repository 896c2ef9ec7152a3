"""Small line plots as SVG, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from deploy.local.home import PROJECT

FOLDER: Final = PROJECT / "build"
"""Where plots lie until a whole measurement puts them into the page."""
COLOURS: Final = ("#2166ac", "#e08214", "#b2182b", "#1b7837")
WIDTH: Final = 640
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 64, 96, 34, 34
PANEL_GAP: Final = 36
"""Between two values beside their dots, so that they do not cover each other."""
GRID: Final = "#8888"
TEXT: Final = "#777"


class Line(NamedTuple):
    """A name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """One pair of axes. A logarithmic scale begins at 1: what is less is drawn there."""

    title: str
    lines: Sequence[Line]
    across: str
    logarithmic: bool = False
    dots: bool = False


def write(name: str, title: str, panels: Sequence[Panel]) -> None:
    """Write `panels` one below the other to build/`name`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_text(drawing(title, panels))


def drawing(title: str, panels: Sequence[Panel]) -> str:
    """The plot as SVG."""
    parts = [_panel(panel, number * HEIGHT) for number, panel in enumerate(panels)]
    height = HEIGHT * len(panels)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" font-size="11">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>\n"])


class _Scale(NamedTuple):
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool

    def place(self, value: float) -> float:
        """Where `value` lies between 0 and 1."""
        if self.logarithmic:
            return math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _scale(values: Sequence[float], *, logarithmic: bool) -> _Scale:
    most = max(values, default=1.0)
    if logarithmic:
        powers = max(1, math.ceil(math.log10(max(most, 2.0))))
        return _Scale(1.0, 10.0**powers, [10.0**power for power in range(powers + 1)], logarithmic=True)
    step = 10 ** math.floor(math.log10(most or 1.0))
    step = next(step * part for part in (0.25, 0.5, 1, 2) if most / (step * part) <= 5)
    count = math.ceil(most / step)
    return _Scale(0.0, step * count, [step * number for number in range(count + 1)], logarithmic=False)


def _panel(panel: Panel, offset: float) -> str:
    points = [point for line in panel.lines for point in line.points]
    across = _scale([x for x, _ in points], logarithmic=False)
    up = _scale([y for _, y in points], logarithmic=panel.logarithmic)
    bottom, right = offset + HEIGHT - BOTTOM, WIDTH - RIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (right - LEFT) * across.place(x),
            bottom - (HEIGHT - TOP - BOTTOM) * up.place(y),
        )

    parts = [_text(LEFT, offset + 16, panel.title, size=13)]
    for tick in up.ticks:
        _, y = at(0, tick)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}" stroke-width="0.5"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:,g}", anchor="end"))
    for tick in across.ticks:
        x, _ = at(tick, up.low)
        parts.append(_text(x, bottom + 15, f"{tick:,g}", anchor="middle"))
    parts.append(_text(right, bottom + 28, panel.across, anchor="end"))
    for number, line in enumerate(panel.lines):
        parts += _line(line, COLOURS[number % len(COLOURS)], [at(*point) for point in line.points], dots=panel.dots)
        parts.append(_text(right + 8, offset + TOP + 16 * number + 4, line.name, colour=COLOURS[number % len(COLOURS)]))
    return "\n".join(parts)


def _line(line: Line, colour: str, places: Sequence[tuple[float, float]], *, dots: bool) -> list[str]:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = [f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    if dots:
        free = 0.0
        for (x, y), (_, value) in zip(places, line.points, strict=True):
            drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            if x >= free:
                drawn.append(_text(x, y - 8, f"{value:.3g}", anchor="middle"))
                free = x + PANEL_GAP
    return drawn


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, colour: str = TEXT) -> str:
    look = f'text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'
