"""The models of a search, and the collections that the inputs allow for each."""

from __future__ import annotations

from unweave.activations.haystack import Built, build_all
from unweave.errors import InputError
from unweave.models.loading import load_model
from unweave.models.model import Model
from unweave.study.haystack.config import HaystackConfig


def reading_model(source: str) -> Model:
    """A model that reads text.

    Args:
        source: What `load_model` takes.

    Raises:
        InputError: It has no tokenizer, or is of no known family.
    """
    model = load_model(source)
    if model.family is None or model.tokenizer is None:
        raise InputError(f"{source} cannot read text: a transformer of a known family with a tokenizer is needed")
    return model


def built_for(config: HaystackConfig, model: Model) -> list[Built]:
    """The collections in the tokens of a model.

    Args:
        config: Inputs and settings.
        model: The model.
    """
    return build_all(
        config.inputs,
        model.tokenizer,
        collections=config.collections,
        most_context=model.context,
        rows=config.rows,
        seed=config.seed,
    )
