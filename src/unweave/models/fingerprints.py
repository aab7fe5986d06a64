"""What identifies a model and a tokenizer: sha256 over configuration and weights, so that activations and featurizers
of another model are refused.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from unweave.artifact import fingerprint
from unweave.models.offloaded import weights_of

_NOT_THE_MODEL = {
    "transformers_version",
    "_name_or_path",
    "dtype",
    "torch_dtype",
    "architectures",
    "use_cache",
    "output_hidden_states",
    "output_attentions",
}


def model_fingerprint(module: nn.Module) -> str:
    """sha256 over the class, the configuration (without where it was loaded from) and every weight and buffer."""
    total = hashlib.sha256(type(module).__name__.encode())
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict"):
        facts = {key: value for key, value in config.to_dict().items() if key not in _NOT_THE_MODEL}
        total.update(json.dumps(facts, sort_keys=True, default=str).encode())
    else:
        total.update(repr(module).encode())  # the configuration of a plain module: its parts and their options
    for name, tensor in weights_of(module):
        total.update(name.encode() + str(tuple(tensor.shape)).encode() + str(tensor.dtype).encode())
        total.update(bytes_of(tensor))
    return total.hexdigest()


def weights_state(module: nn.Module) -> tuple[tuple[int, int, float], ...]:
    """Where every weight lies, how often it was written to, and the sum of its values: unchanged means that a
    fingerprint still holds.

    Neither the address nor torch's count of writes tells of `weight.data[3] = 0`, nor of memory that was freed and used
    again; the sum does, and costs less than a forward pass, which reads every weight too. Values that only change
    places through `.data` go unnoticed.
    """
    tensors = module.state_dict(keep_vars=True).values()
    return tuple(
        (0, tensor._version, 0.0)  # offloaded: a hook brings the same values every time
        if tensor.is_meta
        else (tensor.data_ptr(), tensor._version, float(tensor.detach().sum()))
        for tensor in tensors
    )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 over the whole state of a fast tokenizer, or over the vocabulary of a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state = json.loads(backend.to_str())
        state.pop("padding", None)  # set by the last call, no part of what the tokens are
        state.pop("truncation", None)
        return fingerprint(state)
    return fingerprint({"class": type(tokenizer).__name__, "vocabulary": sorted(tokenizer.get_vocab().items())})


def bytes_of(tensor: Tensor) -> Any:
    """The bytes of a tensor of any dtype, as an array."""
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return raw.numpy()
