"""A training that was cut short goes on where it stopped: its whole state in one safetensors file.

The state is the weights, what AdamW remembers of each, the random generators, and how many steps are done; the rates
are a function of the step. On the same machine with as many threads, the end is the same to the bit as without the
stop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.errors import InputError
from unweave.files import write_file, write_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

STATE = "training.safetensors"
"""The state of an unfinished training, in the folder of the model; gone when it is finished."""
_PURPOSE = "purpose"


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What changes during a training, and where its state is kept."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    generators: Mapping[str, torch.Generator]
    """By name: every source of randomness that is used."""
    folder: Path | None
    """None keeps no state."""
    purpose: Mapping[str, Any]
    """What is trained on what: a state of another recipe or text is refused."""

    def save(self, epochs: int, steps: int) -> None:
        """Replaces the kept state by the present one, after so many epochs and steps, whole or not at all."""
        if self.folder is None:
            return
        import torch

        tensors = {_PURPOSE: _bytes(self.purpose), "epochs, steps": torch.tensor([epochs, steps])}
        tensors |= {f"generator {name}": one.get_state() for name, one in self.generators.items()}
        for name, parameter in self.module.named_parameters():
            tensors[f"weight {name}"] = parameter.detach()
            kept = self.optimiser.state[parameter]
            tensors |= {f"{key} of {name}": value.detach() for key, value in kept.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / STATE, lambda path: write_tensors(tensors, path))

    def resume(self) -> tuple[int, int]:
        """Takes up the kept state and gives the numbers of epochs and steps that are done; zeros where there is none.

        Raises:
            InputError: The state is of another training, or the file is damaged.
        """
        if self.folder is None or not (self.folder / STATE).is_file():
            return 0, 0
        import torch

        tensors = self._read(self.folder / STATE)
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(tensors[f"weight {name}"])
                suffix = f" of {name}"
                self.optimiser.state[parameter] = {
                    key.removesuffix(suffix): value for key, value in tensors.items() if key.endswith(suffix)
                }
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator {name}"])
        epochs, steps = tensors["epochs, steps"].tolist()
        return epochs, steps

    def finish(self) -> None:
        """Removes the kept state."""
        if self.folder is not None:
            (self.folder / STATE).unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}): delete it to train from the start") from error
        if bytes(tensors.get(_PURPOSE, _bytes(None)).tolist()) != bytes(_bytes(self.purpose).tolist()):
            raise InputError(
                f"{path} belongs to a training of another recipe, text or version: choose another directory, or delete"
                " it to train from the start"
            )
        return tensors


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def _bytes(purpose: Any) -> Tensor:
    import torch

    return torch.tensor(list(json.dumps(purpose, sort_keys=True).encode()), dtype=torch.uint8)
