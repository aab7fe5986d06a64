"""How a partition is fitted: four small configurations, one for each thing that can be turned."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from unweave.config import Config, Seed
from unweave.errors import InputError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
"""Of sizes in memory."""


class RowOptions(Config):
    """Which rows are fitted and what is done to them first; nothing unless asked."""

    standardize: Literal["column", "global"] | None = None
    """Divide every column by its standard deviation, or all by one number."""
    center: bool = False
    """Subtract the mean; changes nothing in Euclidean distances, but the featurizer's origin."""
    drop_outliers: Annotated[float, Field(gt=1)] | None = None
    """Leave out rows further from the mean than this many times the median row."""
    drop_first: Annotated[int, Field(ge=0)] = 0
    """Leave out so many first tokens of every document."""
    exclude_same: Literal["document", "token"] | None = None
    """Neighbours of the same document or the same token do not count."""


class SearchConfig(Config):
    """How neighbours are found."""

    pool: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Keys N among which a neighbour is sought; `auto` takes at most 4,096, and all rows if there are fewer."""
    pool_refresh: Annotated[int, Field(ge=1)] = 8
    """Steps that a pool serves before it rolls on by their queries."""
    batch: Annotated[int, Field(ge=1)] = 512
    """Queries a step."""
    search: Literal["exact"] = "exact"
    """Every key is looked at."""
    dtype: Literal["auto", "float32", "float64", "bfloat16"] = "auto"
    """Of the rotation of keys; `auto` takes bfloat16 from width 256 on where the processor has matrix units for it.
    Distances are computed in float32 from the rows found.
    """
    refresh: Annotated[int, Field(ge=1)] = 1
    """Steps that one search serves: the neighbours found are kept while the rotation moves on."""
    first_pool: Annotated[int, Field(ge=1)] | None = 4096
    """Keys of the first steps; they double until all are there when three quarters are done. None: all from the start.
    """
    memory: str = "2GB"
    """What the fit may hold beside the rows it was given."""

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        try:
            bytes_of(memory)
        except InputError as error:
            raise ValueError(str(error)) from None
        return memory


class MergeConfig(Config):
    """When blocks are merged."""

    threshold: Annotated[float, Field(ge=0)] | Literal["auto", "never"] = "auto"
    """Nats per dimension above which two blocks become one; `auto` is twice the largest score of shuffled blocks, at
    least .04; `never` keeps the units and runs all steps.
    """
    start: Annotated[int, Field(ge=0)] | None = None
    """First step with a check; None is when 3/5 of the steps are done."""
    interval: Annotated[int, Field(ge=1)] | None = None
    """Steps between checks of one round each, the first without a pair ends the fit; None is one more check at the end,
    each with as many rounds as find a pair.
    """
    cap: Annotated[int, Field(ge=1)] = 8
    """At most one pair for so many blocks in a round."""
    keys: Annotated[int, Field(ge=2)] | None = None
    """Rows among which the information is estimated; None is 98,304 or all there are, fewer for hundreds of pairs."""
    queries: Annotated[int, Field(ge=2)] | None = None
    """Rows at which it is estimated; None is 2,000, fewer for many pairs."""
    resolution: Annotated[float, Field(ge=0)] = 0.03
    """Standard deviation of the Gaussian noise that hides differences below it, in mean column deviations."""
    carry: bool = True
    """Whether Adam's moments go through a merge."""


class NDMConfig(Config):
    """One fit."""

    unit_size: Annotated[int, Field(ge=1)] = 32
    """Size of the blocks at the start; the last one is smaller where the width is no multiple."""
    method: Literal["merge", "split"] = "merge"
    """From small blocks upwards, or from one block downwards."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance inside a block."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """Most steps of the descent; None is 1,200, or 300 where independent components gave the groups."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Adam's learning rate; None is .16 / sqrt(width)."""
    schedule: Literal["falling", "constant"] = "falling"
    """`falling` is constant for three tenths and then falls to 0 in a straight line: up to the first check, and from a
    lower rate again up to the end.
    """
    retraction: Literal["cayley", "expm"] = "cayley"
    """How a step stays orthogonal."""
    init: Literal["auto", "identity", "ica", "random"] = "auto"
    """Start; `auto` tries the identity and independent components where that is cheap and keeps the better."""
    escape: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Proposals to leave a local minimum before the first merge; `auto` makes some for small widths whose start is not
    in closed form.
    """
    preset: str = "laptop"
    """Where the values come from that were not given."""
    seed: Seed = 0
    """Of every draw."""
    rows: RowOptions = RowOptions()
    search: SearchConfig = SearchConfig()
    merging: MergeConfig = MergeConfig()


def bytes_of(memory: str | int) -> int:
    """The number of bytes in `2GB`, `500 MB` or a number.

    Example:
        >>> bytes_of("1.5 GB")
        1500000000
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?B?)\s*", str(memory).upper())
    unit = "" if match is None else match[2] if match[2].endswith("B") or not match[2] else match[2] + "B"
    if match is None or unit not in UNITS or match[1].count(".") > 1 or match[1] == ".":
        raise InputError(f"memory is {memory!r}: a size such as '2GB' or '500MB' is needed")
    return int(float(match[1]) * UNITS[unit])


def threshold_of(value: Any) -> Any:
    """What a caller may write for the threshold of merging: infinity means never."""
    return "never" if isinstance(value, float) and math.isinf(value) and value > 0 else value
