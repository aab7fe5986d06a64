"""sparsify dictionaries, read: `cfg.json` and `sae.safetensors` as one affine featurizer.

The decoder is taken as it is stored, (latents, d); the encoder is a linear layer, whose weight is the transpose of what
row vectors need.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `read` | W_enc' | (d, k) | stored as (k, d) in `encoder.weight` | specs/ecosystem.md 5 |
| `write` | W_dec | (k, d) | stored as it is | same |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unweave.errors import InputError
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within, as_sites
from unweave.features.foreign.saelens import CONFIG, Dictionary
from unweave.features.foreign.tensor_files import checked_shapes, read_config, read_tensors

WEIGHTS = "sae.safetensors"
REFUSED = {
    "transcode": "it writes at another site than it reads",
    "skip_connection": "it adds a linear map of its input to what the latents write",
}
"""Switch -> why a dictionary with it is no affine featurizer of one site."""


def load_sparsify(path: str | Path, *, site: Any = None, model: str | None = None) -> Dictionary:
    """The featurizer in a sparsify directory: pre-activations of `h - b_dec`, the k largest, then ReLU.

    Args:
        path: Directory with `cfg.json` and `sae.safetensors`.
        site: Where it applies; the files do not say.
        model: Fingerprint of the model that it belongs to.

    Raises:
        InputError: A file that is missing, damaged or of other shapes, or a switch that no affine featurizer has.

    Source:
        specs/ecosystem.md 5, from the released package sparsify 1.3.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from safetensors.torch import save_file
        >>> folder = Path(tempfile.mkdtemp())
        >>> names = {"encoder.weight": (6, 3), "encoder.bias": (6,), "W_dec": (6, 3), "b_dec": (3,)}
        >>> save_file({name: torch.randn(shape) for name, shape in names.items()}, folder / "sae.safetensors")
        >>> _ = (folder / "cfg.json").write_text(json.dumps({"d_in": 3, "expansion_factor": 2, "k": 2}))
        >>> load_sparsify(folder, site="blocks.1.resid_post").featurizer
        AffineFeaturizer(width 3, 6 units in 6 blocks, top_k, blocks.1.resid_post)
    """
    folder = Path(path)
    config = read_config(folder / CONFIG)
    for switch, why in REFUSED.items():
        if config.get(switch):
            raise InputError(f"{folder} has {switch}: {why}, so it is no affine featurizer")
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise InputError(f"{folder} has the activation {activation!r}: only 'topk' is a nonlinearity of one row alone")
    width = _whole(config.get("d_in"), "d_in", folder)
    count = config.get("num_latents") or width * _whole(config.get("expansion_factor"), "expansion_factor", folder)
    count, k = _whole(count, "num_latents", folder), _whole(config.get("k"), "k", folder)
    shapes = {"encoder.weight": (count, width), "encoder.bias": (count,), "W_dec": (count, width), "b_dec": (width,)}
    tensors = read_tensors(folder / WEIGHTS, needed=tuple(shapes))
    checked_shapes(tensors, shapes, folder / WEIGHTS)
    featurizer = AffineFeaturizer(
        read=tensors["encoder.weight"].T,
        write=tensors["W_dec"],
        origin=tensors["b_dec"],
        bias=tensors["encoder.bias"],
        act=Activation(kind="top_k", k=k),
        gauge=Gauge(within=Within.NONE, permutation=True),
        site=as_sites(site),
        capacity=Capacity(parameters=sum(tensors[name].numel() for name in shapes)),
        provenance=Provenance(method="sparsify topk", model=model),
    )
    return Dictionary(featurizer=featurizer, architecture="topk", extra=config)


def _whole(value: Any, name: str, folder: Path) -> int:
    if type(value) is not int or value < 1:
        raise InputError(f"{folder / CONFIG} says {name} = {value!r}: a whole number from 1 is needed")
    return value
