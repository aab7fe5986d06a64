"""Every kind of figure gives a valid Vega-Lite specification that holds the data and draws it."""

import json
import re

import altair as alt
import pytest

from golden_maps import MAPS
from report_figures import FIGURES, HOSTILE, figure
from unweave.errors import InputError
from unweave.report.charts import DRAW, GREY, NEEDS, PALETTE, specification

KEPT = ("type", "field", "datum")


def skeleton(part):
    """What a specification draws, without its looks: marks, encoded columns, panels, drop-downs, filters."""
    found = {}
    mark = part.get("mark")
    if mark:
        found["mark"] = mark["type"] + (" dashed" if "strokeDash" in mark else "")
    if "encoding" in part:
        found["encoding"] = {channel: _column(one) for channel, one in sorted(part["encoding"].items())}
    for name in ("layer", "hconcat", "vconcat"):
        if name in part:
            found[name] = [skeleton(one) for one in part[name]]
    if "spec" in part:
        found["spec"] = skeleton(part["spec"])
    if "facet" in part:
        found["facet"] = part["facet"]["field"]
    if "params" in part:
        found["params"] = {one["name"]: [one["value"], _choice(one["bind"])] for one in part["params"]}
    if "transform" in part:
        found["transform"] = [one.get("filter", one.get("as")) for one in part["transform"]]
    return found


def _choice(bind):
    """The options of a drop-down, the end of a slider."""
    return bind["options"] if "options" in bind else bind["max"]


def _column(one):
    if isinstance(one, list):
        return [item["field"] for item in one]
    return one.get("field", one.get("datum", "condition" if "condition" in one else None))


GOLDEN = {
    "graph": {
        "layer": [
            {
                "mark": "rule",
                "encoding": {
                    "color": "module", "opacity": "value", "strokeWidth": "value", "tooltip": ["label", "value"],
                    "x": "x", "x2": "x2", "y": "y", "y2": "y2",
                },
                "transform": ["datum.what == 'edge' && datum.value > least"],
            },
            {
                "mark": "point",
                "encoding": {
                    "color": "module", "size": "value", "tooltip": ["label", "module", "value"], "x": "x", "y": "y",
                },
                "transform": ["datum.what == 'node'"],
            },
        ],
        "params": {"least": [1.0, 2.5]},
    },
    "histogram": {
        "mark": "bar",
        "encoding": {
            "color": "series", "tooltip": ["series", "left", "right", "value"], "x": "left", "x2": "right",
            "y": "value", "y2": 0,
        },
    },
    "curves": {
        "layer": [
            {"mark": "area", "encoding": {"color": "series", "x": "x", "y": "low", "y2": "high"}},
            {"mark": "line", "encoding": {"color": "series", "x": "x", "y": "y"}},
            {
                "mark": "point",
                "encoding": {
                    "color": "series", "tooltip": ["series", "x", "y", "low", "high"], "x": "x", "y": "y",
                },
            },
        ]
    },
    "curves in panels": {
        "facet": "facet",
        "spec": {
            "layer": [
                {"mark": "area", "encoding": {"color": "series", "x": "x", "y": "low", "y2": "high"}},
                {"mark": "line", "encoding": {"color": "series", "x": "x", "y": "y"}},
                {
                    "mark": "point",
                    "encoding": {
                        "color": "series",
                        "tooltip": ["facet", "series", "x", "y", "low", "high", "control"],
                        "x": "x",
                        "y": "y",
                    },
                },
                {"mark": "line dashed", "encoding": {"detail": "series", "x": "x", "y": "control"}},
            ]
        },
        "params": {"chosen": ["blocks.1", ["blocks.0", "blocks.1"]]},
        "transform": ["datum.select == chosen"],
    },
    "heatmap": {
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": "value", "tooltip": ["row", "column", "value", "low", "high", "control"],
                    "x": "column", "y": "row",
                },
            },
            {
                "mark": "text",
                "encoding": {
                    "color": "condition", "text": "value",
                    "tooltip": ["row", "column", "value", "low", "high", "control"], "x": "column", "y": "row",
                },
                "transform": ["isValid(datum.value)"],
            },
        ],
        "params": {"chosen": ["k = 1", ["k = 1", "k = 2"]]},
        "transform": ["datum.select == chosen"],
    },
    "forest": {
        "layer": [
            {"mark": "rule dashed", "encoding": {"x": 0}},
            {
                "mark": "rule",
                "encoding": {
                    "color": "series", "tooltip": ["label", "series", "value", "low", "high", "control"],
                    "x": "low", "x2": "high", "y": "label", "yOffset": "series",
                },
            },
            {
                "mark": "point",
                "encoding": {
                    "color": "series", "tooltip": ["label", "series", "value", "low", "high", "control"],
                    "x": "value", "y": "label", "yOffset": "series",
                },
            },
        ]
    },
    "bars": {
        "layer": [
            {"mark": "bar", "encoding": {"tooltip": ["label", "value"], "x": "value", "y": "label"}},
            {"mark": "text", "encoding": {"text": "value", "tooltip": ["label", "value"], "x": "value", "y": "label"}},
        ]
    },
    "bars in series": {
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "color": "series", "tooltip": ["label", "series", "value"], "x": "value", "y": "label",
                },
            },
            {
                "mark": "text",
                "encoding": {"text": "value", "tooltip": ["label", "series", "value"], "x": "value", "y": "label"},
            },
        ]
    },
}  # fmt: skip
GOLDEN |= MAPS


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_is_the_golden_one(name):
    assert skeleton(specification(FIGURES[name])) == GOLDEN[name]


def test_every_kind_has_a_golden_figure():
    assert {one.kind for one in FIGURES.values()} == set(DRAW) == set(NEEDS)
    assert set(GOLDEN) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_the_specification_fits_the_schema_of_vega_lite(name):
    found = alt.Chart.from_dict(specification(FIGURES[name]), validate=True)
    assert found.to_dict(validate=True)


@pytest.mark.parametrize("name", FIGURES)
def test_the_data_stands_in_the_specification(name):
    data = FIGURES[name].data
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    assert specification(FIGURES[name])["datasets"]["rows"] == rows


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("curves", {"mark-area": 1, "mark-line": 1, "mark-symbol": 3}),
        ("curves in panels", {"mark-symbol": 4}),
        ("heatmap", {"mark-rect": 3}),  # the fourth cell has no value
        ("forest", {"mark-rule": 5, "mark-symbol": 4}),  # four intervals and zero
        ("bars", {"mark-rect": 2}),
    ],
)
def test_the_renderer_draws_every_row(name, marks):
    """The drawing program of the report, run without a browser: as many marks as rows that the drop-down shows."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(json.dumps(specification(FIGURES[name])))
    for mark, count in marks.items():
        groups = re.findall(rf'<g class="{mark} role-mark[^>]*>(.*?)</g>', svg, re.DOTALL)
        assert sum(len(re.findall("<(?:path|line)", group)) for group in groups) == count


@pytest.mark.parametrize(("options", "shown"), [({}, 0.0), ({"reference": "0.5"}, 0.5)])
def test_the_dashed_line_of_a_forest_stands_where_nothing_is_found(options, shown):
    found = specification(figure("forest", FIGURES["forest"].data, **options))
    dashed, _, points = found["layer"]
    assert dashed["encoding"]["x"] == {"datum": shown}
    assert points["encoding"]["x"]["scale"]["zero"] == (shown == 0)


@pytest.mark.parametrize(("places", "told"), [((1, 2, 4.0), ["1", "2", "4"]), ((0.64, 2.8, 8.0), ["0.64", "2.8", "8"])])
def test_places_on_the_axis_are_told_as_they_are(places, told):
    import vl_convert

    one = FIGURES["curves"]
    columns = {name: list(column)[:3] for name, column in one.data.items()} | {"x": list(places)}
    svg = vl_convert.vegalite_to_svg(json.dumps(specification(one.model_copy(update={"data": columns}))))
    assert all(f">{words}</text>" in svg for words in told)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("place", range(3))
def test_a_missing_column_is_named(name, place):
    kind = FIGURES[name].kind
    column = NEEDS[kind][place % len(NEEDS[kind])]
    data = {key: values for key, values in FIGURES[name].data.items() if key != column}
    with pytest.raises(InputError, match=f"the figure 'A figure: {kind}' lacks {column}: {kind} need .*{column}"):
        specification(figure(kind, data))


def test_columns_of_different_length_and_no_rows_are_refused():
    with pytest.raises(InputError, match="has columns of 1, 2 rows: columns of one length"):
        specification(figure("bars", {"label": ["a", "b"], "value": [1]}))
    with pytest.raises(InputError, match="has columns of 0 rows: columns of one length, with at least one row"):
        specification(figure("bars", {"label": [], "value": []}))


def test_a_figure_of_an_unknown_kind_cannot_be_made():
    with pytest.raises(
        ValueError, match="'curves', 'heatmap', 'forest', 'bars', 'histogram', 'graph', 'points', 'space' or 'steps'"
    ):
        figure("pie", {"label": ["a"], "value": [1]})


@pytest.mark.parametrize("name", FIGURES)
def test_hostile_words_stay_words(name):
    """Titles, labels and series with quotes and tags give a specification that is still valid and still draws."""
    import vl_convert

    given = FIGURES[name]
    data = {
        key: [HOSTILE if isinstance(value, str) else value for value in column] for key, column in given.data.items()
    }
    found = specification(given.model_copy(update={"data": data, "title": HOSTILE, "options": {"x": HOSTILE}}))
    alt.Chart.from_dict(found, validate=True)
    assert vl_convert.vegalite_to_svg(json.dumps(found)).count("<path") > 2


def test_a_drop_down_starts_where_it_is_told_to_or_at_the_first():
    panels = FIGURES["curves in panels"]
    for selected, start in (("blocks.1", "blocks.1"), ("blocks.0", "blocks.0"), ("elsewhere", "blocks.0")):
        options = {**panels.options, "selected": selected}
        found = specification(panels.model_copy(update={"options": options}))
        assert found["params"][0]["value"] == start


def test_colours_are_told_apart_and_enough():
    assert len(set(PALETTE)) == len(PALETTE) >= 7
    names = [f"series {number}" for number in range(7)]
    found = specification(figure("bars", {"label": names, "value": list(range(7)), "series": names}))
    scale = found["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == names
    assert len(set(scale["range"])) == 7


def test_modules_stand_in_order_and_nodes_of_none_are_grey():
    names = ["none", "other", "10", "2"]
    count = len(names)
    data = {
        "what": ["node"] * count, "x": [0.0] * count, "y": [0.0, 1.0, 2.0, 3.0], "x2": [None] * count,
        "y2": [None] * count, "value": [1.0] * count, "module": names, "label": names,
    }  # fmt: skip
    scale = specification(figure("graph", data, plain="none"))["layer"][1]["encoding"]["color"]["scale"]
    assert scale == {"domain": ["2", "10", "other", "none"], "range": [*PALETTE[:3], GREY]}


@pytest.mark.parametrize(("x", "ticks"), [([3, 1, 6], [1, 3, 6]), (list(range(1, 21)), [1, 2, 4, 8, 16])])
def test_few_numbers_are_all_marked_and_many_by_powers_of_two(x, ticks):
    column = [0.0] * len(x)
    data = {"x": x, "y": column, "low": column, "high": column, "series": ["s"] * len(x)}
    found = specification(figure("curves", data, x_scale="log2"))
    assert found["layer"][1]["encoding"]["x"]["axis"]["values"] == ticks
