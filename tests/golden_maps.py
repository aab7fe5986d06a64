"""What the figures of places are to be drawn as: marks and encodings."""

from __future__ import annotations

from typing import Any

MAPS: dict[str, Any] = {
    "points": {
        "layer": [
            {"mark": "line dashed", "encoding": {"x": "a", "y": "a"}},
            {"mark": "line", "encoding": {"detail": "series", "order": "order", "x": "x", "y": "y"}},
            {
                "mark": "point",
                "encoding": {
                    "color": "series",
                    "opacity": "condition",
                    "tooltip": ["label", "series", "x", "y"],
                    "x": "x",
                    "y": "y",
                },
            },
            {"mark": "text", "encoding": {"text": "shown", "x": "x", "y": "y"}, "transform": ["datum.shown != ''"]},
        ]
    },
    "space": {
        "layer": [
            {
                "mark": "point",
                "encoding": {
                    "color": "series",
                    "opacity": "condition",
                    "size": "near",
                    "tooltip": ["label", "series", "x", "y", "z"],
                    "x": "across",
                    "y": "up",
                },
                "transform": ["across", "depth", "up", "near"],
            },
            {
                "mark": "text",
                "encoding": {"text": "shown", "x": "across", "y": "up"},
                "transform": ["across", "depth", "up", "near", "datum.shown != ''"],
            },
        ],
        "params": {"turn": [30, 360], "tilt": [20, 90]},
    },
    "steps": {
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "color": "condition",
                    "tooltip": ["label", "value", "end"],
                    "x": "start",
                    "x2": "end",
                    "y": "label",
                },
                "transform": ["datum.select == chosen"],
            },
            {
                "mark": "text",
                "encoding": {"text": "value", "x": "reach", "y": "label"},
                "transform": ["reach", "datum.select == chosen"],
            },
            {"mark": "rule", "encoding": {"x": 0}},
        ],
        "params": {"chosen": ["one", ["one", "two"]]},
    },
}
