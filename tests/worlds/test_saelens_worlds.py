"""Synthetic models of SAELens as worlds: their statistics, what is refused, files that claim what they do not hold."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memory_use import allocated
from unweave.errors import DataError, InputError
from unweave.worlds.correlated import world
from unweave.worlds.saelens_worlds import CONFIG, HIERARCHY, WEIGHTS, load_saelens_world, save_saelens_world

RATE = np.array([0.3, 0.1, 0.05])


def saved(folder, config=None, **tensors):
    """What SAELens writes for three features in two dimensions."""
    folder.mkdir(exist_ok=True)
    parts = {
        "feature_vectors": torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]]),
        "bias": torch.tensor([0.5, -0.5]),
        "firing_probabilities": torch.tensor(RATE).float(),
    }
    save_file({name: value for name, value in {**parts, **tensors}.items() if value is not None}, folder / WEIGHTS)
    usual = {"num_features": 3, "hidden_dim": 2, "mean_firing_magnitudes": 2.0, "std_firing_magnitudes": 0.5}
    (folder / CONFIG).write_text(json.dumps({**usual, **(config or {})}))
    return folder


def test_rows_have_the_rates_sizes_and_covariance_that_the_files_say(tmp_path):
    found = load_saelens_world(saved(tmp_path / "w"), n=60_000, seed=1)
    assert np.allclose(found.x, found.latent @ found.features + [0.5, -0.5])
    error = np.sqrt(RATE * (1 - RATE) / 60_000)
    assert (np.abs((found.latent > 0).mean(0) - RATE) < 4 * error).all()
    assert abs(found.latent[found.latent > 0].mean() - 2.0) < 0.03  # 27,000 draws of spread .5: six standard errors
    measured = np.cov(found.x.T)
    assert np.abs(measured - found.sigma).max() < 0.04 * np.abs(found.sigma).max()


def test_features_that_go_together_do(tmp_path):
    factor, diag = torch.tensor([[0.9], [0.9], [0.0]]), torch.tensor([0.19, 0.19, 1.0])
    folder = saved(tmp_path / "w", correlation_factor=factor, correlation_diag=diag)
    found = load_saelens_world(folder, n=40_000)
    on = (found.latent > 0).astype(float)
    assert (np.abs(on.mean(0) - RATE) < 4 * np.sqrt(RATE * (1 - RATE) / 40_000)).all()
    together = np.corrcoef(on.T)
    assert together[0, 1] > 0.3
    assert abs(together[0, 2]) < 0.02  # four standard errors of 40,000 rows
    assert found.sigma is None


def test_a_world_there_and_back_keeps_vectors_and_rates(tmp_path):
    made = world("sphere", d=6, n=3000, seed=2)
    back = load_saelens_world(save_saelens_world(made, tmp_path / "w"), n=20_000)
    np.testing.assert_allclose(back.features, made.features, atol=1e-6)
    np.testing.assert_allclose((back.latent > 0).mean(0), made.x.mean(0), atol=0.02)
    with pytest.raises(InputError, match="exists and is not empty"):
        save_saelens_world(made, tmp_path / "w")


def test_what_the_files_do_not_say_is_refused(tmp_path):
    varied = {"mean_firing_magnitudes": {"generator_name": "folded_normal"}}
    with pytest.raises(InputError, match="one number for all features is read"):
        load_saelens_world(saved(tmp_path / "a", varied))
    folder = saved(tmp_path / "b")
    (folder / HIERARCHY).write_text("{}")
    with pytest.raises(InputError, match="has a hierarchy: its rules are code"):
        load_saelens_world(folder)
    with pytest.raises(InputError, match="has no firing_probabilities"):
        load_saelens_world(saved(tmp_path / "c", firing_probabilities=None))
    with pytest.raises(InputError, match=r"bias is \(3,\), \(2,\) is needed"):
        load_saelens_world(saved(tmp_path / "d", bias=torch.zeros(3)))
    with pytest.raises(InputError, match="chances to be on lie between 0 and 1"):
        load_saelens_world(saved(tmp_path / "e", firing_probabilities=torch.tensor([0.1, 2.0, 0.1])))
    with pytest.raises(DataError, match="are never on"):
        save_saelens_world(world("independent", d=3, n=2, density=0.001), tmp_path / "f")


def test_files_cut_or_boasting_are_one_line_and_little_memory(tmp_path):
    folder = saved(tmp_path / "w")
    whole = (folder / WEIGHTS).read_bytes()
    header = json.dumps({"bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    boasting = struct.pack("<Q", len(header)) + header + bytes(64)
    with allocated() as peak:
        for data in (*(whole[:cut] for cut in range(0, len(whole), 7)), boasting, struct.pack("<Q", 2**40)):
            (folder / WEIGHTS).write_bytes(data)
            with pytest.raises(InputError) as told:
                load_saelens_world(folder)
            assert "\n" not in str(told.value)
    assert peak() < 10 << 20
