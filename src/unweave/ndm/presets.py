"""Named settings: the published runs as their logs state them, and scaled ones for a laptop.

A preset gives the values that a caller does not; where a published setting and ours differ (constant rate, threshold by
hand, Adam started again at every merge, no resolution floor), the published preset keeps the published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from unweave.config import config_from
from unweave.errors import unknown_name
from unweave.ndm.config import NDMConfig

PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {
        "lr": 3e-4,
        "schedule": "constant",
        "init": "identity",
        "escape": 0,
        "pool": 409_600,
        "batch": 128,
        "first_pool": None,
        "pool_refresh": 128,
        "merge_cap": 8,
        "mi_keys": 98_304,
        "mi_queries": 12_800,
        "mi_resolution": 0.0,
        "carry": False,
    }
)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "laptop": {},
        "quick": {"steps": 300, "pool": 2048, "mi_keys": 4096, "mi_queries": 1000},
        "toy": {"unit_size": 2, "mi_keys": 8192, "mi_queries": 1000},
        "gpt2": {
            **PUBLISHED,
            "unit_size": 32,
            "steps": 100_000,
            "merge_start": 20_000,
            "merge_interval": 8000,
            "merge_thr": 0.04,
        },
        "qwen2.5-1.5b": {
            **PUBLISHED,
            "unit_size": 64,
            "steps": 100_000,
            "merge_start": 20_000,
            "merge_interval": 8000,
            "merge_thr": 0.02,
        },
        "gemma-2-2b": {
            **PUBLISHED,
            "unit_size": 72,
            "steps": 150_000,
            "merge_start": 10_000,
            "merge_interval": 4000,
            "merge_thr": 0.01,
        },
    }
)
"""Name -> options of `fit`, by the names they have there."""

PLACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "standardize": ("rows", "standardize"),
        "center": ("rows", "center"),
        "drop_outliers": ("rows", "drop_outliers"),
        "drop_first": ("rows", "drop_first"),
        "exclude_same": ("rows", "exclude_same"),
        "pool": ("search", "pool"),
        "pool_refresh": ("search", "pool_refresh"),
        "batch": ("search", "batch"),
        "search": ("search", "search"),
        "dtype": ("search", "dtype"),
        "refresh": ("search", "refresh"),
        "first_pool": ("search", "first_pool"),
        "memory": ("search", "memory"),
        "merge_thr": ("merging", "threshold"),
        "merge_start": ("merging", "start"),
        "merge_interval": ("merging", "interval"),
        "merge_cap": ("merging", "cap"),
        "mi_keys": ("merging", "keys"),
        "mi_queries": ("merging", "queries"),
        "mi_resolution": ("merging", "resolution"),
        "carry": ("merging", "carry"),
    }
)
"""Option of `fit` -> (configuration, field)."""


def settled(preset: str | None, options: Mapping[str, Any]) -> NDMConfig:
    """The configuration of a preset with the options that are not None.

    Raises:
        UnknownName: No such preset.
        InputError: Values out of range.

    Example:
        >>> settled("gpt2", {"unit_size": None, "seed": 3}).merging.threshold
        0.04
    """
    name = preset or "laptop"
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    values: dict[str, Any] = {"preset": name}
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in {**PRESETS[name], **given}.items():
        group, field = PLACES.get(key, ("", key))
        (values.setdefault(group, {}) if group else values)[field] = value
    return config_from(NDMConfig, values, source="options")
