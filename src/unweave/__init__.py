"""unweave: what the representations of a neural network encode, what they cause, and how sure one can be.

Names are imported when they are first used, so that `import unweave` costs nothing and pulls in no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from unweave.version import __version__ as __version__

_WHERE = {
    "load_model": "unweave.models.loading",
    "Model": "unweave.models.model",
    "Tokens": "unweave.models.tokens",
    "Edit": "unweave.models.edits",
    "Section": "unweave.models.sections",
    "collect": "unweave.activations.collect",
    "open_store": "unweave.activations.store",
    "ActivationStore": "unweave.activations.store",
    "read_texts": "unweave.activations.texts",
    "read_labels": "unweave.activations.labels",
    "Concept": "unweave.activations.concepts",
    "Featurizer": "unweave.features.featurizer",
    "AffineFeaturizer": "unweave.features.affine",
    "NeuronFeaturizer": "unweave.features.neurons",
    "Direction": "unweave.features.direction",
    "Readout": "unweave.features.direction",
    "Eraser": "unweave.features.eraser",
    "Bundle": "unweave.features.bundle",
    "FeatureGraph": "unweave.features.graph",
    "compare": "unweave.features.compare",
    "Estimate": "unweave.tensors.estimate",
    "Site": "unweave.site",
    "save": "unweave.artifact",
    "load": "unweave.artifact",
    "probing": "",
    "interaction": "",
    "ndm": "",
    "directions": "",
    "evals": "",
    "features": "",
}
"""Public name -> the module that defines it; "" = the name is a subpackage."""

if TYPE_CHECKING:
    from unweave import directions as directions
    from unweave import evals as evals
    from unweave import features as features
    from unweave import interaction as interaction
    from unweave import ndm as ndm
    from unweave import probing as probing
    from unweave.activations.collect import collect as collect
    from unweave.activations.concepts import Concept as Concept
    from unweave.activations.labels import read_labels as read_labels
    from unweave.activations.store import ActivationStore as ActivationStore
    from unweave.activations.store import open_store as open_store
    from unweave.activations.texts import read_texts as read_texts
    from unweave.artifact import load as load
    from unweave.artifact import save as save
    from unweave.features.affine import AffineFeaturizer as AffineFeaturizer
    from unweave.features.bundle import Bundle as Bundle
    from unweave.features.compare import compare as compare
    from unweave.features.direction import Direction as Direction
    from unweave.features.direction import Readout as Readout
    from unweave.features.eraser import Eraser as Eraser
    from unweave.features.featurizer import Featurizer as Featurizer
    from unweave.features.graph import FeatureGraph as FeatureGraph
    from unweave.features.neurons import NeuronFeaturizer as NeuronFeaturizer
    from unweave.models.edits import Edit as Edit
    from unweave.models.loading import load_model as load_model
    from unweave.models.model import Model as Model
    from unweave.models.sections import Section as Section
    from unweave.models.tokens import Tokens as Tokens
    from unweave.site import Site as Site
    from unweave.tensors.estimate import Estimate as Estimate

__all__ = list(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        from unweave.errors import nearest

        close = nearest(name, _WHERE)
        raise AttributeError(f"unweave has no {name!r}" + (f"; nearest: {', '.join(close)}" if close else ""))
    module = importlib.import_module(_WHERE[name] or f"unweave.{name}")
    value = getattr(module, name) if _WHERE[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_WHERE, *(name for name in globals() if name.startswith("__"))])
