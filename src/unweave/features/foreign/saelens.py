"""SAELens dictionaries, both ways: `cfg.json` and `sae_weights.safetensors` as one affine featurizer.

What does not fold into an affine map and one nonlinearity is refused by name, never approximated. All folding happens
in double precision; the weights come back in the dtype they are stored in where nothing is folded.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `read` | W_enc | (d, k) | what each latent reads | specs/ecosystem.md 5 |
| `write` | W_dec | (k, d) | what each latent writes | same |
| `factor` | c | scalar | h is multiplied by it before the encoder: W_enc c, W_dec / c, b_dec / c | same |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within, as_sites
from unweave.features.foreign.tensor_files import checked_shapes, exact, read_config, read_tensors
from unweave.files import write_tensors, write_text

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "topk", "jumprelu")
REFUSED = {
    "gated": "its gate and its magnitude are two maps",
    "temporal": "it reads several positions at once",
    "matching_pursuit": "its encoder is an iteration",
    "batchtopk": "which latents stay on depends on the other rows of the batch; export it as jumprelu",
    "matryoshka_batchtopk": "which latents stay on depends on the other rows of the batch; export it as jumprelu",
    "transcoder": "it writes at another site than it reads",
    "skip_transcoder": "it writes at another site than it reads",
    "crosscoder": "it reads several sites at once",
}
"""Architecture -> why no affine featurizer is it."""
NORMS = {
    "layer_norm": "every row is divided by its own spread",
    "constant_norm_rescale": "every row is divided by its own length",
}
"""Normalisation -> why it does not fold."""
METADATA = ("hook_name", "model_name")


@dataclass(frozen=True, eq=False, kw_only=True)
class Dictionary:
    """A dictionary of another library."""

    featurizer: AffineFeaturizer
    architecture: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Every field of its configuration, as it was read."""


def load_saelens(
    path: str | Path,
    *,
    factor: float | None = None,
    whitening: tuple[Any, Any] | None = None,
    model: str | None = None,
) -> Dictionary:
    """The featurizer in a SAELens directory.

    Args:
        path: Directory with `cfg.json` and `sae_weights.safetensors`.
        factor: c of `expected_average_only_in`: sqrt(d) over the mean length of the activations it was trained on. The
            file does not hold it.
        whitening: Mean (d,) and matrix (d, d) of covariance whitening, `(h - mean) @ matrix`.
        model: Fingerprint of the model that it belongs to.

    Raises:
        InputError: A file that is missing, damaged or of other shapes; an architecture or normalisation that no affine
            featurizer is; a factor that is needed and not given.

    Source:
        specs/ecosystem.md 5, from the released package SAELens 6.

    Example:
        >>> import tempfile
        >>> f = AffineFeaturizer(read=torch.eye(3, 5), write=torch.eye(5, 3), act=Activation(kind="relu"), site="embed")
        >>> folder = save_saelens(f, tempfile.mkdtemp() + "/sae")
        >>> load_saelens(folder).featurizer
        AffineFeaturizer(width 3, 5 units in 5 blocks, relu, embed)
    """
    folder = Path(path)
    given = read_config(folder / CONFIG)
    config = _current(given)
    architecture = _architecture(config, folder)
    needed = ("W_enc", "W_dec", "b_enc", "b_dec") + (("threshold",) if architecture == "jumprelu" else ())
    tensors = read_tensors(folder / WEIGHTS, needed=needed)
    width, count = (_size(config, name, folder) for name in ("d_in", "d_sae"))
    shapes = {"W_enc": (width, count), "W_dec": (count, width), "b_enc": (count,), "b_dec": (width,)}
    if architecture == "jumprelu":
        shapes["threshold"] = (count,)
    checked_shapes(tensors, shapes, folder / WEIGHTS)
    maps = _Maps(*(exact(tensors[name]) for name in ("W_enc", "b_enc", "W_dec", "b_dec")))
    act = Activation(kind="relu")
    if architecture == "jumprelu":
        act = Activation(kind="jump_relu", threshold=exact(tensors["threshold"]))
    elif architecture == "topk":
        norms = maps.write.norm(dim=1) if config.get("rescale_acts_by_decoder_norm") else None
        act = Activation(kind="top_k", k=_size(config, "k", folder), scale=norms)
    applied = bool(config.get("apply_b_dec_to_input", True))
    maps = _normalised(maps, str(config.get("normalize_activations", "none")), applied, factor, whitening)
    origin, bias = maps.origin, maps.bias
    if not applied:
        bias = bias + origin @ maps.read
    featurizer = AffineFeaturizer(
        read=maps.read, write=maps.write, origin=origin, bias=bias, act=act,
        gauge=Gauge(within=Within.NONE, permutation=True), site=as_sites(config.get("hook_name")),
        capacity=Capacity(parameters=sum(one.numel() for one in tensors.values())),
        provenance=Provenance(method=f"saelens {architecture}", model=model),
    )  # fmt: skip
    return Dictionary(featurizer=_in_dtype(featurizer, tensors["W_enc"].dtype), architecture=architecture, extra=given)


def save_saelens(featurizer: AffineFeaturizer, path: str | Path, *, model_name: str = "") -> Path:
    """Writes a ReLU, TopK or JumpReLU featurizer as a SAELens directory, with `apply_b_dec_to_input` true.

    Args:
        featurizer: Units of blocks of one; the bias and origin stay what they are.
        path: The directory; it must not exist or be empty.
        model_name: Its name on the Hub, for those who load it.

    Raises:
        InputError: Another nonlinearity, several sites, or a directory that holds something.

    Example:
        >>> import tempfile
        >>> f = AffineFeaturizer(read=torch.eye(3, 5), act=Activation(kind="top_k", k=2), site="blocks.1.resid_post")
        >>> sorted(file.name for file in save_saelens(f, tempfile.mkdtemp() + "/sae").iterdir())
        ['cfg.json', 'sae_weights.safetensors']
    """
    kinds = {"relu": "standard", "top_k": "topk", "jump_relu": "jumprelu"}
    if featurizer.act.kind not in kinds:
        raise InputError(
            f"the featurizer has the nonlinearity {featurizer.act.kind!r}: SAELens has dictionaries with"
            f" {', '.join(kinds)} only"
        )
    if isinstance(featurizer.site, tuple):
        raise InputError(f"the featurizer is at {len(featurizer.site)} sites: a SAELens dictionary is at one")
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    dtype = featurizer.read.dtype
    tensors = {
        "W_enc": featurizer.read, "W_dec": featurizer.write.to(dtype), "b_enc": featurizer.bias,
        "b_dec": featurizer.origin,
    }  # fmt: skip
    if featurizer.act.threshold is not None:
        tensors["threshold"] = featurizer.act.threshold.to(dtype)
    width, count = featurizer.read.shape
    config: dict[str, Any] = {
        "architecture": kinds[featurizer.act.kind],
        "d_in": width,
        "d_sae": count,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": _lens_name(featurizer.site), "model_name": model_name or None},
    }
    if featurizer.act.k is not None:
        config["k"] = featurizer.act.k
        config["rescale_acts_by_decoder_norm"] = _ranks_by_length(featurizer)
    write_tensors({name: one.contiguous() for name, one in tensors.items()}, folder / WEIGHTS)
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    return folder


@dataclass(frozen=True, eq=False)
class _Maps:
    """The four parts, in double precision."""

    read: Tensor
    bias: Tensor
    write: Tensor
    origin: Tensor


def _normalised(
    maps: _Maps, norm: str, applied: bool, factor: float | None, whitening: tuple[Any, Any] | None
) -> _Maps:
    if norm in ("none", "None", ""):
        return maps
    if norm in NORMS:
        raise InputError(f"normalize_activations is {norm!r}: {NORMS[norm]}, which is not affine")
    if norm == "expected_average_only_in":
        if factor is None or not factor > 0:
            raise InputError(
                "normalize_activations is 'expected_average_only_in' and its factor is not in the file: give factor=,"
                " sqrt(width) over the mean length of the training activations"
            )
        return replace(maps, read=maps.read * factor, write=maps.write / factor, origin=maps.origin / factor)
    if norm in ("whitening", "covariance_whitening"):
        if whitening is None:
            raise InputError(f"normalize_activations is {norm!r}: give whitening=(mean, matrix), the file has neither")
        mean, matrix = (exact(torch.as_tensor(one)) for one in whitening)
        width = len(maps.read)
        if mean.shape != (width,) or matrix.shape != (width, width):
            raise InputError(
                f"whitening has shapes {tuple(mean.shape)} and {tuple(matrix.shape)}: ({width},) and ({width}, {width})"
                " are needed"
            )
        inverse = torch.linalg.inv(matrix)
        read = matrix @ maps.read
        bias = maps.bias if applied else maps.bias - mean @ read
        return _Maps(read=read, bias=bias, write=maps.write @ inverse, origin=maps.origin @ inverse + mean)
    raise unknown_name("normalize_activations", norm, ("none", "expected_average_only_in", "whitening", *NORMS))


def _current(given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in the words of SAELens 6; older files have their own."""
    config = dict(given)
    metadata = config.get("metadata")
    if isinstance(metadata, dict):
        config |= {name: metadata[name] for name in METADATA if metadata.get(name) is not None}
    if "hook_name" not in config and "hook_point" in config:
        config["hook_name"] = config["hook_point"]
    if isinstance(config.get("normalize_activations"), bool):
        config["normalize_activations"] = "expected_average_only_in" if config["normalize_activations"] else "none"
    keywords = config.get("activation_fn_kwargs")
    if "k" not in config and isinstance(keywords, dict) and "k" in keywords:
        config["k"] = keywords["k"]
    if "architecture" not in config or (config["architecture"] == "standard" and "activation_fn_str" in config):
        name = config.get("activation_fn_str", config.get("activation_fn", "relu"))
        names = {"relu": "standard", "topk": "topk"}
        config["architecture"] = names.get(str(name), f"standard with {name}")
    if (
        "d_sae" not in config
        and isinstance(config.get("expansion_factor"), int)
        and isinstance(config.get("d_in"), int)
    ):
        config["d_sae"] = config["d_in"] * config["expansion_factor"]
    return config


def _architecture(config: Mapping[str, Any], folder: Path) -> str:
    name = str(config.get("architecture"))
    if name in REFUSED:
        raise InputError(f"{folder} is a {name!r} dictionary: {REFUSED[name]}, so it is no affine featurizer")
    if name not in ARCHITECTURES:
        raise unknown_name("architecture", name, ARCHITECTURES, hint=f"in {folder / CONFIG}")
    if config.get("noise_scale"):
        raise InputError(f"{folder} adds noise of scale {config['noise_scale']} to its latents: set it to 0 first")
    if config.get("use_error_term") or config.get("reshape_activations", "none") not in ("none", "hook_z"):
        raise InputError(f"{folder} reshapes activations as {config.get('reshape_activations')!r}: 'none' or 'hook_z'")
    return name


def _size(config: Mapping[str, Any], name: str, folder: Path) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise InputError(f"{folder / CONFIG} says {name} = {value!r}: a whole number from 1 is needed")
    return value


def _in_dtype(featurizer: AffineFeaturizer, dtype: torch.dtype) -> AffineFeaturizer:
    """Stored as it came, at least in single precision."""
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    act = featurizer.act
    threshold, scale = (None if one is None else one.to(kept) for one in (act.threshold, act.scale))
    act = replace(act, threshold=threshold, scale=scale)
    parts = {name: getattr(featurizer, name).to(kept) for name in ("read", "write", "origin", "bias")}
    return replace(featurizer, act=act, **parts)


def _ranks_by_length(featurizer: AffineFeaturizer) -> bool:
    """Whether TopK ranks by what each latent writes; any other ranking has no place in the file."""
    if featurizer.act.scale is None:
        return False
    ratio = exact(featurizer.act.scale) / exact(featurizer.write).norm(dim=1)
    if not bool(torch.isfinite(ratio).all()) or float(ratio.max() / ratio.min()) > 1 + 1e-4:
        raise InputError("the latents are ranked by a scale that is not the length of their decoder rows")
    return True


def _lens_name(site: Any) -> str | None:
    """The site as TransformerLens spells it."""
    if site is None:
        return None
    names = {"mlp_act": "mlp.hook_post", "attn_z": "attn.hook_z"}
    if site.layer is None:
        return f"hook_{site}" if str(site) == "embed" else str(site)
    return f"blocks.{site.layer}.{names.get(site.component, f'hook_{site.component}')}"
