"""The report's charts: matplotlib draws, the page colours.

Every colour is a name of the page's style sheet (`var(--ink)`), so a chart follows light, dark and print;
every text stays text. Charts are 340 or 720 units wide: the narrow ones stand beside each other on a wide
page and below each other on a phone, where the type is as large as the page's own.
"""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ....schemas.errors import MissingExtraError
from ..harmless import line

__all__ = ["Chart", "bars", "curves", "dumbbells", "flow", "heat", "shares"]

# What the style sheet knows → a colour that matplotlib writes and nothing else uses.
_COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "rule": "#030303",
    "paper": "#040404",
    "good": "#050505",
    "harm": "#060606",
    "before": "#070707",
    **{f"c{number}": f"#08080{number}" for number in range(8)},
    **{f"d{number}": f"#09090{number}" for number in range(7)},
}
NARROW, WIDE = 340, 720
LABEL = 26
_ENDS = {"kept": "good", "unweighted": "before", "rejected": "harm", "duplicates": "c6", "failed": "muted"}

Chart = str  # one <svg> element


def flow(counts: Mapping[str, int], wide: bool = True) -> Chart:
    """From what was read to what became of it, as streams whose widths are documents."""
    ends = [(name, counts.get(name, 0)) for name in _ENDS if counts.get(name, 0)]
    total = max(sum(number for _, number in ends), 1)
    width, stream = (WIDE, 0.74) if wide else (NARROW, 0.56)
    with _axes(width, 250, f"{total:,} documents, by what became of them") as (axes, done):
        gap = 0.07
        spread = gap * (len(ends) - 1)
        left, right, label = 1 + spread / 2, 1 + spread, 2.0
        axes.add_patch(_rectangle(0, spread / 2, 0.02, 1, "ink"))
        for name, number in ends:
            part, colour = number / total, _ENDS[name]
            axes.add_patch(_stream(0.02, left - part, left, stream, right - part, right, colour))
            axes.add_patch(_rectangle(stream, right - part, 0.012, part, colour))
            label = min(label - 0.19, right - part / 2)
            percent = f"{100 * part:.1f} %"
            _text(axes, stream + 0.03, label, f"{name} {number:,}", size=12, weight="bold", shift=5)
            _text(axes, stream + 0.03, label, percent, size=10.5, colour="muted", shift=-8)
            left, right = left - part, right - part - gap
        axes.set_xlim(0, 1)
        axes.set_ylim(min(label, 0) - 0.08, 1 + spread + 0.14)
        read = counts.get("read", 0) + counts.get("generated", 0)
        _text(axes, 0, 1 + spread / 2 + 0.09, f"read {read:,}", size=12, weight="bold")
    return done[0]


def dumbbells(
    rows: Sequence[tuple[str, float, float]],
    title: str,
    colour: str = "good",
    names: tuple[str, str] = ("before", "after"),
) -> Chart:
    """One row a measure: an open dot before, a full one after, and a line between them."""
    with _axes(NARROW, 52 + 26 * len(rows), f"{title}: {names[0]} and {names[1]}") as (axes, done):
        places = np.arange(len(rows))[::-1]
        most = max([max(first, second) for _, first, second in rows] + [1e-3])
        for place, (name, first, second) in zip(places, rows, strict=True):
            axes.plot([0, most * 1.05], [place, place], color=_COLOURS["rule"], linewidth=0.6, zorder=0)
            axes.plot([first, second], [place, place], color=_COLOURS[colour], linewidth=2.6, alpha=0.55, zorder=1)
            axes.plot(first, place, "o", color=_COLOURS["paper"], markeredgecolor=_COLOURS["before"], markersize=6.5)
            axes.plot(second, place, "o", color=_COLOURS[colour], markersize=7)
            _text(axes, -0.03 * most, place, name, ha="right", size=11)
            change = f"{100 * (second / first - 1):+.0f} %".replace("-0 ", "±0 ") if first >= 5e-4 else "–"
            change = "±0 %" if change == "+0 %" else change.replace("-", "−")
            _text(
                axes,
                most * 1.12,
                place,
                change,
                ha="left",
                size=11,
                weight="bold" if abs(second - first) > 0.003 else "normal",
            )
        axes.set_xlim(-0.62 * most, most * 1.42)
        axes.set_ylim(-1.1, len(rows) - 0.2)
        for tick in _ticks(most):
            _text(axes, tick, -0.85, f"{tick:g}", ha="center", size=10, colour="muted")
            axes.plot([tick, tick], [-0.5, len(rows) - 0.5], color=_COLOURS["rule"], linewidth=0.5, zorder=0)
    return done[0]


def heat(rows: Sequence[str], columns: Sequence[str], change: Any, title: str) -> Chart:
    """A table of changes: rows × columns, in seven steps from less (orange) to more (blue), each with its number."""
    narrow = len(columns) <= 4
    width = NARROW if narrow else WIDE
    with _axes(width, 64 + 24 * len(rows), title) as (axes, done):
        largest = max(float(np.abs(change).max()), 1e-3)
        for y in range(len(rows)):
            for x in range(len(columns)):
                value = float(change[y][x])
                step = round(value / largest * 3) + 3
                axes.add_patch(_rectangle(x + 0.03, len(rows) - 1 - y + 0.05, 0.94, 0.9, f"d{step}"))
                _text(
                    axes,
                    x + 0.5,
                    len(rows) - 1 - y + 0.47,
                    f"{value:+.3f}".replace("0.", ".", 1).replace("-", "−"),
                    ha="center",
                    size=8,
                )
            _text(axes, -0.06 * len(columns) / 4, len(rows) - 1 - y + 0.47, rows[y], ha="right", size=11)
        for x, name in enumerate(columns):
            _text(axes, x + 0.5, len(rows) + 0.35, name, ha="center", size=10.5, weight="bold", most=14)
        label = 0.42 if narrow else 0.19
        axes.set_xlim(-len(columns) * label / (1 - label), len(columns))
        axes.set_ylim(-0.1, len(rows) + 0.9)
    return done[0]


def shares(rows: Sequence[tuple[str, float, float]], title: str) -> Chart:
    """One row a group: the share of tokens before (thin, grey) and after weighing (thick)."""
    with _axes(NARROW, 40 + 30 * len(rows), title) as (axes, done):
        most = max([max(first, second) for _, first, second in rows] + [1e-3])
        for place, (name, first, second) in zip(np.arange(len(rows))[::-1], rows, strict=True):
            axes.add_patch(_rectangle(0, place - 0.02, second, 0.34, "good"))
            axes.add_patch(_rectangle(0, place - 0.2, first, 0.14, "before"))
            _text(axes, -0.03 * most, place + 0.06, name, ha="right", size=11)
            _text(axes, max(first, second) + 0.03 * most, place + 0.06, f"{100 * second:.1f} %", size=11, weight="bold")
        axes.set_xlim(-0.62 * most, most * 1.36)
        axes.set_ylim(-0.5, len(rows) - 0.4)
    return done[0]


def bars(values: Sequence[tuple[str, float]], title: str, colour: str = "good", note: str = "") -> Chart:
    """Upright bars with their labels below; for the spread of weights and of cluster sizes."""
    with _axes(NARROW, 190, title) as (axes, done):
        most = max([value for _, value in values] + [1e-9])
        for place, (name, value) in enumerate(values):
            axes.add_patch(_rectangle(place + 0.08, 0, 0.84, value / most, colour))
            if place % max(1, len(values) // 7) == 0:
                _text(axes, place + 0.5, -0.07, name, ha="center", size=10, colour="muted")
        peak = max(range(len(values)), key=lambda place: values[place][1]) if values else 0
        if values:
            at, side = (0.08, "left") if peak == 0 else (peak + 0.5, "center")  # a long number begins with its bar
            _text(axes, at, 1.06, f"{values[peak][1]:,.0f}", ha=side, size=11, weight="bold")
        _text(axes, len(values) / 2, -0.19, note, ha="center", size=10.5, colour="muted", most=60)
        axes.plot([0, len(values)], [0, 0], color=_COLOURS["ink"], linewidth=0.8)
        axes.set_xlim(-0.2, len(values) + 0.2)
        axes.set_ylim(-0.26, 1.16)
    return done[0]


def curves(lines: Sequence[tuple[str, Any, Any]], title: str, cap: float) -> Chart:
    """What each charter gives a token, by the share of tokens that it values less; one step line a charter."""
    with _axes(NARROW, 230, title) as (axes, done):
        top = max([float(np.max(heights)) for _, _, heights in lines if len(heights)] + [0.1]) * 1.08
        for tick in _ticks(top):
            axes.plot([0, 1], [tick, tick], color=_COLOURS["rule"], linewidth=0.5, zorder=0)
            _text(axes, -0.02, tick, f"{tick:g}", ha="right", size=10, colour="muted")
        labels = []
        for number, (name, edges, heights) in enumerate(lines):
            if not len(heights):
                continue
            colour = f"c{number % 8}"
            axes.stairs(heights, edges, color=_COLOURS[colour], linewidth=2.2, baseline=None)
            labels.append((float(heights[-1]), name, colour))
        last = -1e9
        for height, name, colour in sorted(labels):
            last = max(height, last + top * 0.085)
            _text(axes, 1.02, last, name, size=11, weight="bold", colour=colour, most=14)
        for share in (0, 0.25, 0.5, 0.75, 1):
            _text(axes, share, -0.06 * top, f"{100 * share:.0f} %", ha="center", size=10, colour="muted")
        _text(
            axes, 0.5, -0.15 * top, "tokens, from least to most valued", ha="center", size=10.5, colour="muted", most=60
        )
        axes.plot([0, 1], [0, 0], color=_COLOURS["ink"], linewidth=0.8)
        axes.set_xlim(-0.1, 1.36)
        axes.set_ylim(-0.2 * top, max(top, last + 0.1 * top))
    return done[0]


def _ticks(most: float) -> list[float]:
    step = 10.0 ** np.floor(np.log10(most))
    step = next(step * factor for factor in (0.25, 0.5, 1.0, 2.0, 2.5) if most / (step * factor) <= 4.01)
    return [round(step * number, 6) for number in range(int(most / step) + 1)]


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=_COLOURS[colour], edgecolor="none")


def _stream(x0: float, low0: float, high0: float, x1: float, low1: float, high1: float, colour: str) -> Any:
    """A band that bends from one height to another."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    middle = (x0 + x1) / 2
    points = [
        (x0, high0),
        (middle, high0),
        (middle, high1),
        (x1, high1),
        (x1, low1),
        (middle, low1),
        (middle, low0),
        (x0, low0),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    return PathPatch(Path(points, codes), facecolor=_COLOURS[colour], edgecolor="none", alpha=0.45)


def _text(axes: Any, x: float, y: float, words: str, **style: Any) -> None:
    shift, colour, most = style.pop("shift", 0), style.pop("colour", "ink"), style.pop("most", LABEL)
    axes.annotate(
        line(words, most),
        (x, y),
        (0, shift),
        textcoords="offset points",
        color=_COLOURS[colour],
        va="center",
        annotation_clip=False,
        ha=style.pop("ha", "left"),
        **style,
    )


@contextmanager
def _axes(width: int, height: int, description: str) -> Any:
    """Axes without frame over the whole picture; afterwards the picture stands in the list that comes with them."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("the report's charts need: pip install 'florilegium[report]'") from error
    import logging

    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # glyphs are the browser's business
    done: list[Chart] = []
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": description,
        "text.parse_math": False,
        "path.simplify": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        yield axes, done
        written = io.StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of glyphs that its own font lacks; the browser has others
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    done.append(_inline(written.getvalue(), description, width, height))


def _inline(document: str, description: str, width: int, height: int) -> Chart:
    """The <svg> element alone, in the page's colours and type, with ids of its own."""
    from hashlib import blake2b
    from html import escape

    body = document[document.index(">", document.index("<svg")) + 1 : document.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    own = "c" + blake2b(document.encode(), digest_size=4).hexdigest()
    body = re.sub(r'\bid="', f'id="{own}-', body)
    body = re.sub(r"url\(#", f"url(#{own}-", body)
    body = re.sub(r'href="#', f'href="#{own}-', body)
    for name, colour in _COLOURS.items():
        body = body.replace(colour, f"var(--{name})")
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    kind = "narrow" if width == NARROW else "wide"
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(line(description, 120))}" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>'
    )
