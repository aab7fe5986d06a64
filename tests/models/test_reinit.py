"""Random weights: the same architecture and tokenizer, other numbers, the same for the same seed."""

import pytest
import torch
from torch import nn

import tiny
import unweave as uw
from unweave.errors import InputError
from unweave.models.reinit import with_random_weights


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_only_the_weights_are_others(family):
    model = tiny.text_model(family)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    state = torch.get_rng_state()
    one, same, other = (with_random_weights(model, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert one.sites() == model.sites()
    assert one.tokenizer is model.tokenizer
    assert one.name == f"{model.name}, random weights"
    assert not one.module.training
    assert one.fingerprint == same.fingerprint
    assert len({model.fingerprint, one.fingerprint, other.fingerprint}) == 3


def test_a_plain_module_cannot_be_made_again():
    with pytest.raises(InputError, match="without a configuration: only a transformers model"):
        with_random_weights(uw.load_model(nn.Linear(2, 2)))
