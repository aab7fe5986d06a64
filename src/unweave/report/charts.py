"""The kinds of figures (those of places are in `maps`), each from columns of plain values to a Vega-Lite specification.

| kind | needs | may have |
|---|---|---|
| `curves` | `x`, `y`, `low`, `high`, `series` | `facet`; `control` (dashed); `select` (a drop-down) |
| `heatmap` | `row`, `column`, `value` | `low`, `high`, `control` (shown on hover); `select` |
| `forest` | `label`, `value`, `low`, `high`, `series` | `control` |
| `bars` | `label`, `value` | `series` |
| `histogram` | `left`, `right`, `value`, `series` | |
| `graph` | `what` (node or edge), `x`, `y`, `x2`, `y2`, `value`, `module`, `label` | `layers` (names in order) |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import altair as alt

from unweave.errors import InputError
from unweave.report.maps import points, space, steps
from unweave.report.palette import GREY, PALETTE
from unweave.report.record import Figure

ROWS = alt.NamedData(name="rows")
"""Stands for the data while a chart is put together: altair copies what it is given at every step."""
LOOKS: Mapping[str, Any] = MappingProxyType(
    {
        "font": "system-ui, -apple-system, 'Segoe UI', sans-serif",
        "background": "transparent",
        "view": {"stroke": None},
        "axis": {
            "labelColor": "#333",
            "titleColor": "#333",
            "titleFontWeight": "normal",
            "gridColor": "#e6e6e6",
            "domainColor": "#999",
            "tickColor": "#999",
        },
        "legend": {"labelColor": "#333", "titleColor": "#333", "titleFontWeight": "normal", "symbolStrokeWidth": 2},
        "header": {"labelColor": "#222", "labelFontWeight": "bold"},
    }
)
"""Vega-Lite's configuration, the same for all figures."""
MOST_TICKS = 12
NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "curves": ("x", "y", "low", "high", "series"),
        "heatmap": ("row", "column", "value"),
        "forest": ("label", "value", "low", "high", "series"),
        "bars": ("label", "value"),
        "histogram": ("left", "right", "value", "series"),
        "graph": ("what", "x", "y", "x2", "y2", "value", "module", "label"),
        "points": ("x", "y", "label", "series"),
        "space": ("x", "y", "z", "label", "series"),
        "steps": ("label", "start", "end", "value"),
    }
)


def specification(figure: Figure) -> dict[str, Any]:
    """The Vega-Lite specification of a figure, its data inside.

    Raises:
        InputError: A column that the kind needs is missing, columns of different length, or no rows.
    """
    needed = ", ".join(NEEDS[figure.kind])
    missing = [name for name in NEEDS[figure.kind] if name not in figure.data]
    if missing:
        raise InputError(f"the figure {figure.title!r} lacks {', '.join(missing)}: {figure.kind} need {needed}")
    lengths = {len(column) for column in figure.data.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"the figure {figure.title!r} has columns of {', '.join(map(str, sorted(lengths)))} rows: columns of one"
            " length, with at least one row, are needed"
        )
    specified = DRAW[figure.kind](figure).to_dict(validate=False)
    rows = [dict(zip(figure.data, row, strict=True)) for row in zip(*figure.data.values(), strict=True)]
    datasets = specified.get("datasets", {}) | {ROWS.name: rows}
    return specified | {"datasets": datasets, "config": specified.get("config", {}) | LOOKS}


def _curves(figure: Figure) -> Any:
    logarithmic = figure.options.get("x_scale") == "log2"
    places = sorted({value for value in figure.data["x"] if isinstance(value, int | float)})
    x = alt.X(
        "x:Q",
        title=figure.options.get("x", ""),
        scale=alt.Scale(type="log", base=2) if logarithmic else alt.Scale(zero=False),
        axis=alt.Axis(
            values=_ticks(places, logarithmic=logarithmic),
            format="d" if all(value == int(value) for value in places) else ".2~g",
            grid=False,
        ),
    )
    y = _axis("y:Q", figure.options.get("y", ""), figure)
    color = _series(figure)
    tooltip = _tooltip(figure, ("facet", "series", "x", "y", "low", "high", "control"))
    layers = [
        alt.Chart()
        .mark_area(opacity=0.16, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title=figure.options.get("y", "")), y2="high:Q", color=color),
        alt.Chart().mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, color=color),
        alt.Chart().mark_point(filled=True, size=34, clip=True).encode(x=x, y=y, color=color, tooltip=tooltip),
    ]
    if "control" in figure.data:
        layers.append(
            alt.Chart()
            .mark_line(strokeDash=[4, 3], strokeWidth=1.5, color=GREY)
            .encode(x=x, y=alt.Y("control:Q"), detail="series:N")
        )
    chart = alt.layer(*layers, data=ROWS)
    if "facet" in figure.data:
        order = _distinct(figure, "facet")
        return _selected(
            chart.properties(width=225, height=105).facet(
                alt.Facet("facet:N", title=None, sort=order, header=alt.Header(labelFontSize=11, labelLimit=245)),
                columns=3,
                spacing={"row": 26, "column": 22},
            ),
            figure,
        )
    return _selected(chart.properties(width=560, height=260), figure)


def _ticks(known: list[int | float], *, logarithmic: bool) -> Any:
    """Every x where they are few; else powers of two, or what the axis chooses."""
    if len(known) <= MOST_TICKS:
        return known
    return [2**power for power in range(int(known[-1]).bit_length())] if logarithmic else alt.Undefined


def _heatmap(figure: Figure) -> Any:
    rows, columns = (_distinct(figure, name) for name in ("row", "column"))
    base = alt.Chart(ROWS).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=figure.options.get("column", ""),
            axis=alt.Axis(labelAngle=0 if len(columns) <= 12 else -60, orient="bottom"),
        ),
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=260)),
        tooltip=_tooltip(figure, ("row", "column", "value", "low", "high", "control")),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "value:Q", title=figure.options.get("value", ""), scale=alt.Scale(scheme="blues", domain=[0, 1])
        ),
    )
    numbers = (
        base.transform_filter("isValid(datum.value)")
        .mark_text(fontSize=10)
        .encode(
            text=alt.Text("value:Q", format=".2f"),
            color=alt.condition("datum.value > 0.6", alt.value("white"), alt.value("#222")),
        )
    )
    layers = cells + numbers if len(columns) <= 16 else cells
    return _selected(layers.properties(width=min(640, 44 * len(columns) + 60), height=21 * len(rows) + 10), figure)


def _forest(figure: Figure) -> Any:
    labels, series = (_distinct(figure, name) for name in ("label", "series"))
    base = alt.Chart(ROWS).encode(
        y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=260, grid=False, ticks=False)),
        yOffset=alt.YOffset("series:N", sort=series),
        color=_series(figure),
    )
    reference = float(figure.options.get("reference", 0))
    scale = alt.Scale(zero=reference == 0)
    x = alt.X("value:Q", title=figure.options.get("x", ""), scale=scale, axis=alt.Axis(tickCount=7))
    tooltip = _tooltip(figure, ("label", "series", "value", "low", "high", "control"))
    nothing = alt.Chart(alt.Data(values=[{}])).mark_rule(color=GREY, strokeDash=[4, 3]).encode(x=alt.datum(reference))
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", tooltip=tooltip)
    points = base.mark_point(filled=True, size=46).encode(x=x, tooltip=tooltip)
    return _selected(
        alt.layer(nothing, lines, points, data=ROWS).properties(
            width=520, height=max(60, 16 * len(labels) * (len(series) + 0.6))
        ),
        figure,
    )


def _bars(figure: Figure) -> Any:
    labels = _distinct(figure, "label")
    powers = [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000]
    logarithmic = figure.options.get("x_scale") == "symlog"
    chart = alt.Chart(ROWS).encode(
        y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=260)),
        x=alt.X(
            "value:Q",
            title=figure.options.get("x", ""),
            scale=alt.Scale(type="symlog", constant=1) if logarithmic else alt.Scale(zero=True),
            axis=alt.Axis(values=powers, format=",d") if logarithmic else alt.Axis(),
        ),
        tooltip=_tooltip(figure, ("label", "series", "value")),
    )
    plain = "series" not in figure.data
    bars = (
        chart.mark_bar(height=12, color=PALETTE[0])
        if plain
        else chart.mark_bar(height=12).encode(color=_series(figure))
    )
    text = alt.Text("value:Q", format=figure.options.get("format", ","))
    numbers = chart.mark_text(align="left", dx=4, fontSize=10).encode(text=text)
    return _selected((bars + numbers).properties(width=460, height=20 * len(labels)), figure)


def _histogram(figure: Figure) -> Any:
    """Steps on a logarithmic axis: the few rows in a tail are what a histogram of activations is looked at for."""
    chart = alt.Chart(ROWS).encode(
        x=alt.X("left:Q", title=figure.options.get("x", ""), scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
        x2="right:Q",
        y=alt.Y(
            "value:Q",
            title=figure.options.get("y", ""),
            scale=alt.Scale(type="symlog", constant=1),
            axis=alt.Axis(values=[0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000], format=",d"),
            stack=None,
        ),
        y2=alt.datum(0),
        color=_series(figure),
        tooltip=_tooltip(figure, ("series", "left", "right", "value")),
    )
    return _selected(chart.mark_bar(opacity=0.55, binSpacing=0).properties(width=560, height=150), figure)


def _graph(figure: Figure) -> Any:
    """Layers from left to right; a slider sets which edges are drawn, nodes stay."""
    weights = [
        value
        for what, value in zip(figure.data["what"], figure.data["value"], strict=True)
        if what == "edge" and isinstance(value, int | float)
    ]
    top = max(weights, default=1.0)
    least = alt.param(
        name="least",
        value=float(figure.options.get("least", 0)),
        bind=alt.binding_range(min=0, max=top, step=top / 100, name=f"{figure.options.get('value', 'weight')} above: "),
    )
    names = figure.options.get("layers", "").split("|")
    places = [place for place in range(len(names)) if names[place]]
    axis = alt.Axis(
        offset=14,
        values=places,
        labelExpr=f"{names}[datum.value]",
        title=None,
        grid=False,
        ticks=False,
        domain=False,
        orient="top",
    )
    x = alt.X("x:Q", axis=axis, scale=alt.Scale(domain=[-0.2, max(len(names) - 0.8, 0.2)]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(reverse=True))
    plain = figure.options.get("plain")
    modules = sorted(_distinct(figure, "module"), key=lambda name: (name == plain, not name.isdigit(), len(name), name))
    colors = [GREY if name == plain else PALETTE[number % len(PALETTE)] for number, name in enumerate(modules)]
    color = alt.Color(
        "module:N",
        sort=modules,
        scale=alt.Scale(domain=modules, range=colors),
        legend=alt.Legend(title="module", orient="top") if len(modules) > 1 else None,
    )
    base = alt.Chart(ROWS)
    edges = (
        base.transform_filter("datum.what == 'edge' && datum.value > least")
        .mark_rule()
        .encode(
            x=x, y=y, x2="x2:Q", y2="y2:Q", color=color,
            opacity=alt.Opacity("value:Q", scale=alt.Scale(range=[0.15, 0.8]), legend=None),
            strokeWidth=alt.StrokeWidth("value:Q", scale=alt.Scale(range=[0.3, 3.5]), legend=None),
            tooltip=_tooltip(figure, ("label", "value")),
        )
    )  # fmt: skip
    nodes = (
        base.transform_filter("datum.what == 'node'")
        .mark_point(filled=True, opacity=1)
        .encode(
            x=x, y=y, color=color, tooltip=_tooltip(figure, ("label", "module", "value")),
            size=alt.Size("value:Q", scale=alt.Scale(type="sqrt", range=[14, 160]), legend=None),
        )
    )  # fmt: skip
    tall = max((value for value in figure.data["y"] if isinstance(value, int | float)), default=1)
    return alt.layer(edges, nodes).add_params(least).properties(width=600, height=max(160, 14 * tall))


DRAW: Mapping[str, Callable[[Figure], Any]] = MappingProxyType(
    {
        "curves": _curves,
        "heatmap": _heatmap,
        "forest": _forest,
        "bars": _bars,
        "histogram": _histogram,
        "graph": _graph,
        "points": points,
        "space": space,
        "steps": steps,
    }
)
"""Kind -> what draws it."""


def _distinct(figure: Figure, column: str) -> list[str]:
    """The entries of a column of names, each once, in order."""
    return [str(value) for value in dict.fromkeys(figure.data[column])]


def _axis(field: str, title: str, figure: Figure) -> Any:
    domain = figure.options.get("y_domain")
    scale = alt.Scale(domain=[float(end) for end in domain.split(",")]) if domain else alt.Scale(zero=False)
    return alt.Y(field, title=title, scale=scale, axis=alt.Axis(tickCount=5))


def _series(figure: Figure) -> Any:
    names = _distinct(figure, "series")
    title = figure.options.get("series") or None
    legend = alt.Legend(title=title, orient="top", symbolOpacity=1, symbolType="circle") if len(names) > 1 else None
    return alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=PALETTE[: len(names)]), legend=legend)


def _tooltip(figure: Figure, names: tuple[str, ...]) -> list[Any]:
    shown = []
    for name in names:
        if name in figure.data:
            number = any(isinstance(value, float) for value in figure.data[name])
            title = figure.options.get(name) or name
            shown.append(
                alt.Tooltip(f"{name}:Q", format=".3f", title=title) if number else alt.Tooltip(f"{name}:N", title=title)
            )
    return shown


def _selected(chart: Any, figure: Figure) -> Any:
    """With a drop-down where the data has a column to choose by."""
    if "select" not in figure.data:
        return chart
    options = _distinct(figure, "select")
    start = next((option for option in options if str(option) == figure.options.get("selected")), options[0])
    chosen = alt.param(
        name="chosen",
        value=start,
        bind=alt.binding_select(options=options, name=f"{figure.options.get('select', 'show')}: "),
    )
    return chart.add_params(chosen).transform_filter("datum.select == chosen")
