"""Three kinds of figures of places: points of a plane, points of a space that can be turned, and a sum in steps.

| kind | needs | may have |
|---|---|---|
| `points` | `x`, `y`, `label`, `series` | `facet`; `order` (joins points in order); `shown` (text beside the point); `control` |
| `space` | `x`, `y`, `z`, `label`, `series` | `shown` |
| `steps` | `label`, `start`, `end`, `value` | `select` |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from typing import Any

import altair as alt

from unweave.report.palette import GREY, PALETTE
from unweave.report.record import Figure

ROWS = alt.NamedData(name="rows")
MOST_COLOURS = len(PALETTE)
MANY = [*PALETTE, "#882255", "#44AA99", "#999933", "#332288", "#AA4499", "#88CCEE", "#DDCC77", "#117733"]


def points(figure: Figure) -> Any:
    """Points of a plane; with `order` they are joined into a closed line."""
    find, found = _search(figure)
    x = alt.X(
        "x:Q", title=figure.options.get("x", ""), scale=alt.Scale(zero=False), axis=alt.Axis(grid=False, tickCount=5)
    )
    y = alt.Y(
        "y:Q", title=figure.options.get("y", ""), scale=alt.Scale(zero=False), axis=alt.Axis(grid=False, tickCount=5)
    )
    base = alt.Chart().encode(x=x, y=y)
    layers = []
    if figure.options.get("diagonal") == "yes":
        numbers = [v for name in ("x", "y") for v in figure.data[name] if isinstance(v, int | float) and v == v]
        low, high = min(numbers, default=0), max(numbers, default=1)
        ends = alt.Data(values=[{"a": low}, {"a": high}])
        layers.append(alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 3]).encode(x="a:Q", y="a:Q"))
    if "order" in figure.data:
        layers.append(
            base.mark_line(color=GREY, strokeWidth=1, opacity=0.6, interpolate="linear-closed").encode(
                order="order:Q", detail="series:N"
            )
        )
    small = len(figure.data["x"]) > 400
    layers.append(
        base.mark_point(filled=True, size=14 if small else 44).encode(
            color=_colour(figure), tooltip=_tooltip(figure),
            opacity=alt.condition(found, alt.value(0.45 if small else 0.9), alt.value(0.06)),
        )
    )  # fmt: skip
    if "shown" in figure.data:
        layers.append(
            base.transform_filter("datum.shown != ''")
            .mark_text(fontSize=10, dy=-8, color="#222")
            .encode(text="shown:N")
        )
    size = {"width": 260, "height": 230} if "facet" in figure.data else {"width": 600, "height": 420}
    chart = alt.layer(*layers, data=ROWS).properties(**size)
    if "facet" in figure.data:
        order = list(dict.fromkeys(map(str, figure.data["facet"])))
        chart = chart.facet(
            alt.Facet("facet:N", title=None, sort=order, header=alt.Header(labelFontSize=11, labelLimit=260)),
            columns=2, spacing={"row": 26, "column": 40},
        ).resolve_scale(x="independent", y="independent")  # fmt: skip
    return chart.add_params(find) if find is not None else chart


def space(figure: Figure) -> Any:
    """Points of a space, seen from where two sliders say."""
    find, found = _search(figure)
    turn = alt.param(name="turn", value=30, bind=alt.binding_range(min=0, max=360, step=2, name="turn: "))
    tilt = alt.param(name="tilt", value=20, bind=alt.binding_range(min=-90, max=90, step=2, name="tilt: "))
    chart = (
        alt.Chart(ROWS)
        .transform_calculate(
            across="datum.x * cos(turn * PI / 180) - datum.y * sin(turn * PI / 180)",
            depth="datum.x * sin(turn * PI / 180) + datum.y * cos(turn * PI / 180)",
        )
        .transform_calculate(
            up="datum.z * cos(tilt * PI / 180) - datum.depth * sin(tilt * PI / 180)",
            near="datum.z * sin(tilt * PI / 180) + datum.depth * cos(tilt * PI / 180)",
        )
    )
    most = max((abs(v) for name in "xyz" for v in figure.data[name] if isinstance(v, int | float)), default=1.0)
    scale = alt.Scale(domain=[-1.5 * most, 1.5 * most])
    place = chart.encode(x=alt.X("across:Q", axis=None, scale=scale), y=alt.Y("up:Q", axis=None, scale=scale))
    marks = place.mark_point(filled=True).encode(
        color=_colour(figure), tooltip=_tooltip(figure),
        opacity=alt.condition(found, alt.value(0.55), alt.value(0.05)),
        size=alt.Size("near:Q", legend=None, scale=alt.Scale(range=[8, 70])),
    )  # fmt: skip
    layers = [marks]
    if "shown" in figure.data:
        layers.append(
            place.transform_filter("datum.shown != ''")
            .mark_text(fontSize=10, dy=-8, color="#222")
            .encode(text="shown:N")
        )
    drawn = alt.layer(*layers).add_params(turn, tilt).properties(width=520, height=460)
    return drawn.add_params(find) if find is not None else drawn


def steps(figure: Figure) -> Any:
    """Bars that each begin where the last one ended."""
    labels = list(dict.fromkeys(map(str, figure.data["label"])))
    base = alt.Chart(ROWS).encode(y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=200)))
    tooltip = [
        alt.Tooltip("label:N"),
        alt.Tooltip("value:Q", format=".4f"),
        alt.Tooltip("end:Q", format=".4f", title="so far"),
    ]
    bars = base.mark_bar(height=13).encode(
        x=alt.X("start:Q", title=figure.options.get("x", "")), x2="end:Q", tooltip=tooltip,
        color=alt.condition("datum.value >= 0", alt.value(PALETTE[0]), alt.value(PALETTE[1])),
    )  # fmt: skip
    numbers = base.mark_text(align="left", dx=4, fontSize=10).encode(
        x="reach:Q", text=alt.Text("value:Q", format="+.3f")
    )
    layers = [bars, numbers.transform_calculate(reach="max(datum.start, datum.end)")]
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color=GREY).encode(x=alt.datum(0))
    chart = alt.layer(*layers, zero).properties(width=520, height=18 * len(labels))
    if "select" not in figure.data:
        return chart
    options = list(dict.fromkeys(map(str, figure.data["select"])))
    chosen = alt.param(
        name="chosen", value=options[0],
        bind=alt.binding_select(options=options, name=f"{figure.options.get('select', 'show')}: "),
    )  # fmt: skip
    kept = [layer.transform_filter("datum.select == chosen") for layer in layers]
    return alt.layer(*kept, zero).add_params(chosen).properties(width=520, height=18 * len(labels))


def _search(figure: Figure) -> tuple[Any, Any]:
    """A field that finds labels, where there are too many to read; and what is found."""
    if len(figure.data["label"]) < 60 or "facet" in figure.data:
        return None, "true"
    field = alt.param(name="find", value="", bind=alt.binding(input="search", name="find: ", placeholder="a word"))
    return field, "!find || indexof(lower(datum.label), lower(find)) >= 0"


def _colour(figure: Figure) -> Any:
    names = list(dict.fromkeys(map(str, figure.data["series"])))
    colours = [MANY[place % len(MANY)] for place in range(len(names))]
    legend = alt.Legend(title=figure.options.get("series") or None, orient="right", labelLimit=220, symbolOpacity=1)
    return alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=colours), legend=legend if len(names) > 1 else None)  # fmt: skip  # noqa: E501


def _tooltip(figure: Figure) -> list[Any]:
    shown = [alt.Tooltip("label:N"), alt.Tooltip("series:N", title=figure.options.get("series") or "series")]
    names = [name for name in ("x", "y", "z", "control") if name in figure.data]
    return shown + [alt.Tooltip(f"{name}:Q", format=".3f", title=figure.options.get(name) or name) for name in names]
