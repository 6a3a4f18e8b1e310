"""Pictures of numbers as SVG: plain functions from figures to markup, no chart library, no style attributes.

The shapes stretch (preserveAspectRatio="none" with non-scaling strokes); the labels are SVG text placed in per cent in
a second drawing that does not stretch, so text keeps its size, follows the theme, prints, and needs no script.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A forecast: the share of the width that is measured, and the value at the right edge with its interval."""

    share: float
    low: float
    likely: float
    high: float


def path(values: Values, low: float, high: float, width: float = 1000, height: float = 200) -> str:
    """Return the line through the values as an SVG path; it breaks where there is none. A lone value is a dot."""
    out, pen, last = [], False, max(len(values) - 1, 1)
    for i, value in enumerate(values):
        if value is None:
            pen = False
            continue
        at = f"{_f(i / last * width)} {_f(_y(value, low, high, height))}"
        alone = not pen and (i + 1 == len(values) or values[i + 1] is None)
        out.append(f"M{at}h0.1" if alone else f"{'L' if pen else 'M'}{at}")
        pen = True
    return "".join(out)


def area(values: Values, low: float, high: float, width: float = 1000, height: float = 200) -> str:
    """Return the area under the values as an SVG path, one piece for each stretch without a gap."""
    pieces: list[str] = []
    run: list[tuple[float, float]] = []
    last = max(len(values) - 1, 1)
    for i, value in enumerate([*values, None]):
        if value is not None:
            run.append((i / last * width, _y(value, low, high, height)))
            continue
        if len(run) > 1:
            top = "L".join(f"{_f(x)} {_f(y)}" for x, y in run)
            pieces.append(f"M{_f(run[0][0])} {_f(height)}L{top}L{_f(run[-1][0])} {_f(height)}Z")
        run = []
    return "".join(pieces)


def spark(values: Values, label: str, kind: str = "") -> SafeString:
    """Return a line without axes; `label` says in words what it shows. Empty when nothing was measured."""
    known = [v for v in values if v is not None]
    if not known:
        return mark_safe("")
    pad = (max(known) - min(known)) * 0.15 or 1
    low, high = min(known) - pad, max(known) + pad
    return format_html(
        '<svg class="spark{}" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="area" d="{}"/><path d="{}"/></svg>',
        f" spark--{kind}" if kind else "",
        label,
        area(values, low, high, 100, 24),
        path(values, low, high, 100, 24),
    )


def line(
    title: str,
    values: Values,
    *,
    said: str,
    now: str = "",
    words: Sequence[str] = (),
    marks: Sequence[tuple[float, str]] = (),
    limit: tuple[float, str] | None = None,
    below: Sequence[str] = (),
    heading: str = "h3",
    top: float | None = None,
    ahead: Ahead | None = None,
) -> SafeString:
    """Return one series as a figure. y starts at 0.

    `said` is the sentence for a screen reader, `now` what it is at present, `words` one hover text a value, `marks` the
    grid as (value, label), `limit` the dashed line as (value, label), `below` the labels under the picture, `top` the
    value at the upper edge where it is known (100 for shares), `ahead` a forecast drawn dotted after the last value.
    """
    known = [v for v in values if v is not None]
    high = top or max([*known, *(m for m, _ in marks), *([limit[0]] if limit else [])], default=1) * 1.06 or 1
    width = 1000.0 * (ahead.share if ahead else 1)
    shapes = [
        f'<line class="grid" x1="0" x2="1000" y1="{_f(_y(m, 0, high))}" y2="{_f(_y(m, 0, high))}"/>' for m, _ in marks
    ]
    shapes.append(f'<path class="ar" d="{area(values, 0, high, width)}"/>')
    if limit:
        y = _f(_y(limit[0], 0, high))
        shapes.append(f'<line class="th" x1="0" x2="1000" y1="{y}" y2="{y}"/>')
    shapes.append(f'<path class="ln" d="{path(values, 0, high, width)}"/>')
    if ahead and known:
        start = f"{_f(width)} {_f(_y(known[-1], 0, high))}"
        ends = [f"1000 {_f(max(_y(value, 0, high), 0))}" for value in (ahead.low, ahead.likely, ahead.high)]
        shapes.append(f'<path class="fan" d="M{start}L{ends[2]}L{ends[0]}Z"/><path class="fc" d="M{start}L{ends[1]}"/>')
    apart = high * 0.09  # a mark closer to the limit than this would lie under its label
    clear = [mark for mark in marks if limit is None or abs(mark[0] - limit[0]) >= apart]
    labels = "".join(_label(_y(m, 0, high) / 2, text) for m, text in clear)
    if limit:
        labels += _label(_y(limit[0], 0, high) / 2, limit[1], "chart__y--th")
    return format_html(
        '<figure class="chart"><figcaption class="chart__cap"><{h}>{title}</{h}><span class="now">{now}</span>'
        '</figcaption><div class="chart__plot"{data}><svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" '
        'aria-label="{said}">{shapes}</svg><svg class="chart__labels" aria-hidden="true">{labels}</svg></div>'
        '<div class="chart__x" aria-hidden="true">{below}</div></figure>',
        h=heading,
        title=title,
        now=now,
        said=said,
        data=format_html(' data-chart="{}"', json.dumps(list(words))) if words else "",
        shapes=mark_safe("".join(shapes)),  # noqa: S308 made of numbers above
        labels=mark_safe(labels),  # noqa: S308 escaped in _label
        below=mark_safe("".join(f"<span>{escape(text)}</span>" for text in below)),  # noqa: S308 escaped here
    )


def segs(groups: Iterable[Iterable[tuple[str, str]]], label: str) -> SafeString:
    """Return one segment a claim, grouped: (kind, hover text); "" proven, "w" weak, "b" failing, "n" never tested."""
    parts = []
    for group in groups:
        row = [format_html('<i class="{}" data-t="{}"></i>', kind, text) for kind, text in group]
        if row:
            parts.append("".join(row))
    cells = mark_safe('<i class="gap"></i>'.join(parts))  # noqa: S308 escaped above
    return format_html('<div class="segs" role="img" aria-label="{}">{}</div>', label, cells)


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that will run tonight: where in the window it starts (0 to 1), how long it lasts, its kind."""

    at: float
    lasts: float
    kind: str = ""  # "" backup, "often" one of many backups, "test" restore test


_NIGHT = {"often": (39, 22), "": (25, 50), "test": (14, 72)}  # top and height in per cent


def night(jobs: Sequence[Job], label: str) -> SafeString:
    """Return the strip of what runs tonight; the words stand in `label` and in the list beside it."""
    bars = "".join(
        f'<rect class="night__ev{" night__ev--" + job.kind if job.kind else ""}" x="{_f(job.at * 100)}%" '
        f'width="{_f(max(job.lasts * 100, 0.6))}%" y="{_NIGHT[job.kind][0]}%" height="{_NIGHT[job.kind][1]}%" rx="2"/>'
        for job in sorted(jobs, key=lambda job: (job.kind != "often", job.kind))
    )
    return format_html('<svg class="night__track" role="img" aria-label="{}">{}</svg>', label, mark_safe(bars))  # noqa: S308 made of numbers


def _label(percent: float, text: str, extra: str = "") -> str:
    return f'<text class="chart__y {extra}" x="100%" dx="8" y="{_f(percent)}%" dy="0.32em">{escape(text)}</text>'


def _y(value: float, low: float, high: float, height: float = 200) -> float:
    return height - (value - low) / ((high - low) or 1) * height


def _f(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")
