"""The write vectors of a featurizer as Neuronpedia takes them: one JSON object a line, each the body of one upload.

An upload names model, block and hook, and carries one vector with a label and the strength it is steered with. The
vectors have length 1 here and the strength is the length that the unit writes with, so that strength times vector is
what the featurizer writes. What Neuronpedia does not ask for (index, block of units, our name of the site, provenance)
stands beside it under `unweave`, which its interface passes over.

| field | meaning, unit |
|---|---|
| `modelId` | the model as Neuronpedia calls it, such as `gpt2-small` |
| `layerNumber`, `hookType` | the hook of TransformerLens, `blocks.{layerNumber}.{hookType}` |
| `vector` | (d,), length 1, at most 24,576 numbers |
| `vectorDefaultSteerStrength` | -300..300, in units of the activations |
| `vectorLabel` | what it is called |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.direction import Direction
from unweave.features.featurizer import Featurizer, block_slices, units
from unweave.features.lines import along
from unweave.files import write_text
from unweave.site import Site, lens_name

UPLOAD = "https://www.neuronpedia.org/api/vector/new"
"""Where a line goes, with POST and a key of one's own."""
HOOK = "hook_resid_pre"
"""The one hook that uploads are taken for."""
WIDEST, STRONGEST = 24_576, 300.0
TOGETHER = 256
"""Units that are decoded at once."""
DIGITS = 8
"""Significant ones of a number: a float32 has 7.2."""


def neuronpedia_vectors(
    featurizer: Any,
    *,
    model: str,
    chosen: Sequence[int] | None = None,
    labels: Mapping[int, str] | Sequence[str] | None = None,
    strength: float | None = None,
    depth: int | None = None,
) -> Iterator[dict[str, Any]]:
    """What each unit writes, as the body of an upload: `decode(e_i, 0) - decode(0, 0)` at length 1.

    The output of block L is named as the input of block L + 1, which is the same quantity and the only one that uploads
    are taken for; `uploadable` under `unweave` says whether this one is.

    Args:
        featurizer: Any, at one site, or a direction.
        model: Its name at Neuronpedia.
        chosen: Which units; None takes all.
        labels: Unit -> label, or one label a unit; None and what is missing are called by method, site and number.
        strength: Default strength of steering; None takes the length that each unit writes with.
        depth: Number of blocks of the model, where it is known: the output of the last block is then not named as the
            input of one that does not exist.

    Raises:
        InputError: Several sites or none, a unit that is not there, writes nothing or has a number that is not finite,
            a width or a strength beyond what is taken, labels that do not fit.

    Source:
        The upload of vectors in hijohnnylin/neuronpedia (`/api/vector/new`).

    Example:
        >>> one = Direction(vector=[0.0, 3.0, 4.0], site="blocks.1.resid_post")
        >>> (body,) = neuronpedia_vectors(one, model="gpt2-small", labels=["calm"])
        >>> body["layerNumber"], body["hookType"], body["vectorDefaultSteerStrength"], body["vector"]
        (2, 'hook_resid_pre', 5.0, [0.0, 0.6, 0.8])
    """
    source = along(featurizer) if isinstance(featurizer, Direction) else featurizer
    if not isinstance(source, Featurizer):
        raise InputError(f"a {type(featurizer).__name__} was given: a featurizer or a direction has vectors to write")
    if not model:
        raise InputError("the model has no name: model= is what Neuronpedia calls it, such as 'gpt2-small'")
    layer, hook = _place(source.site, depth)
    every = range(units(source))
    wanted = list(every) if chosen is None else list(chosen)
    strange = [unit for unit in wanted if unit not in every]
    if strange:
        raise InputError(f"unit {strange[0]} is not in the featurizer: it has 0..{len(every) - 1}")
    if source.width > WIDEST:
        raise InputError(f"the vectors have {source.width} numbers: Neuronpedia takes at most {WIDEST}")
    if strength is not None and not abs(strength) <= STRONGEST:
        raise InputError(f"strength is {strength}: Neuronpedia takes -{STRONGEST:g}..{STRONGEST:g}")
    names = _labels(source, wanted, labels)
    return _bodies(source, wanted, {"model": model, "layer": layer, "hook": hook}, names, strength)


def save_neuronpedia_vectors(
    featurizer: Any,
    path: str | Path,
    *,
    model: str,
    chosen: Sequence[int] | None = None,
    labels: Mapping[int, str] | Sequence[str] | None = None,
    strength: float | None = None,
    depth: int | None = None,
) -> Path:
    """Writes `neuronpedia_vectors` as a file of lines.

    Args:
        featurizer: See `neuronpedia_vectors`, and so are all others.
        path: The file; one that stands there is replaced.
        model: See there.
        chosen: See there.
        labels: See there.
        strength: See there.
        depth: See there.

    Raises:
        InputError: As there.

    Example:
        >>> import tempfile
        >>> from unweave.features.bases import neurons
        >>> file = save_neuronpedia_vectors(
        ...     neurons(3, site="blocks.0.resid_pre"), tempfile.mkdtemp() + "/v.jsonl", model="gpt2-small"
        ... )
        >>> len(file.read_text().splitlines())
        3
    """
    bodies = neuronpedia_vectors(featurizer, model=model, chosen=chosen, labels=labels, strength=strength, depth=depth)
    write_text(Path(path), "".join(json.dumps(body) + "\n" for body in bodies))
    return Path(path)


def written(featurizer: Featurizer, chosen: Sequence[int]) -> Float[Tensor, "k d"]:
    """What units write: `decode(e_i, 0) - decode(0, 0)`, float64.

    Args:
        featurizer: Any.
        chosen: Which of its coordinates.
    """
    z = torch.zeros(1 + len(chosen), units(featurizer), dtype=torch.float64)
    z[torch.arange(1, 1 + len(chosen)), list(chosen)] = 1.0
    decoded = featurizer.decode(z, torch.zeros(len(z), featurizer.width, dtype=torch.float64)).detach().double()
    return decoded[1:] - decoded[0]


def rounded(value: float) -> float:
    """A number with the digits that a file of numbers keeps."""
    return float(f"{value:.{DIGITS}g}")


def hook_of(site: Site) -> str | None:
    """The name that TransformerLens has for a site, None where it has none."""
    try:
        return lens_name(site)
    except InputError:
        return None


def _bodies(
    source: Featurizer, wanted: Sequence[int], place: Mapping[str, Any], names: Sequence[str], strength: float | None
) -> Iterator[dict[str, Any]]:
    blocks = [number for number, part in enumerate(block_slices(source)) for _ in range(part.start, part.stop)]
    vectors = (row for first in range(0, len(wanted), TOGETHER) for row in written(source, wanted[first:][:TOGETHER]))
    for unit, label, vector in zip(wanted, names, vectors, strict=True):
        length = float(vector.norm())
        if not 0 < length < float("inf"):
            raise InputError(f"unit {unit} writes a vector of length {length:g}: it has no direction, leave it out")
        steer = length if strength is None else strength
        if abs(steer) > STRONGEST:
            raise InputError(
                f"unit {unit} writes a vector of length {length:.4g}, Neuronpedia steers with at most {STRONGEST:g}:"
                " give strength="
            )
        yield {
            "modelId": place["model"],
            "layerNumber": place["layer"],
            "hookType": place["hook"],
            "vector": [rounded(value) for value in (vector / length).tolist()],
            "vectorDefaultSteerStrength": rounded(steer),
            "vectorLabel": label,
            "unweave": {
                "index": unit,
                "block": blocks[unit],
                "norm": rounded(length),
                "site": str(source.site),
                "hook": hook_of(Site(str(source.site))),
                "uploadable": place["hook"] == HOOK,
                "method": source.provenance.method,
                "fingerprint": source.provenance.model,
            },
        }


def _place(site: Any, depth: int | None) -> tuple[int, str]:
    """(number of the block, hook in it)."""
    if site is None or isinstance(site, tuple):
        raise InputError(
            f"the featurizer is at {'no site' if site is None else f'{len(site)} sites'}: Neuronpedia has vectors of"
            " one hook in one block"
        )
    name = hook_of(site)
    if name is None or site.layer is None:
        raise InputError(f"{site} is no hook of a block in TransformerLens: Neuronpedia has vectors of such hooks")
    if depth is not None and site.layer >= depth:
        raise InputError(f"{site} is not in a model of {depth} blocks: it has 0..{depth - 1}")
    last = depth is not None and site.layer == depth - 1
    if site.component == "resid_post" and not last:
        return site.layer + 1, HOOK
    return site.layer, name.split(".", 2)[2]


def _labels(source: Featurizer, wanted: Sequence[int], labels: Mapping[int, str] | Sequence[str] | None) -> list[str]:
    count = units(source)
    if labels is not None and not isinstance(labels, Mapping):
        if isinstance(labels, str) or len(labels) != count:
            got = "one text" if isinstance(labels, str) else f"{len(labels)} labels"
            raise InputError(f"there are {got} for {count} units: one a unit, or a mapping from unit to label")
        labels = dict(enumerate(labels))
    given = labels or {}
    strange = [unit for unit in given if unit not in range(count)]
    if strange:
        raise InputError(f"there is a label for unit {strange[0]!r}: the featurizer has 0..{count - 1}")
    method = source.provenance.method or "unit"
    return [str(given.get(unit) or f"{method} {source.site} {unit}") for unit in wanted]
