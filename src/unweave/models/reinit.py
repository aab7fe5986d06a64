"""The same architecture with fresh weights: what it and the tokens alone give a probe."""

from __future__ import annotations

import torch

from unweave.errors import InputError
from unweave.models.model import Model


def with_random_weights(model: Model, *, seed: int = 0) -> Model:
    """A model of the same class, configuration and tokenizer whose weights are drawn anew, as before training.

    Args:
        model: Of transformers.
        seed: Of the weights.

    Raises:
        InputError: A module without a configuration from which it could be made again.

    Example:
        >>> import unweave as uw
        >>> fresh = with_random_weights(uw.load_model("zoo:docs"))
        >>> fresh.name, fresh.family == uw.load_model("zoo:docs").family
        ('zoo:docs, random weights', True)
    """
    configuration = getattr(model.module, "config", None)
    if configuration is None or model.family is None:
        raise InputError(
            f"{model.name} is a {type(model.module).__name__} without a configuration: only a transformers model can be"
            " made again with random weights"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = type(model.module)(configuration)
    module = module.to(device=model.device, dtype=model.dtype).eval()
    return Model(module=module, family=model.family, tokenizer=model.tokenizer, name=f"{model.name}, random weights")
