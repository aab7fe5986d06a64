"""`uw.ndm.fit`: what it finds, what it keeps to, and that it goes on where it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import samples
import unweave as uw
from remote_stores import Killed, Recording, fresh
from unweave.errors import FingerprintError, InputError, StoreError
from unweave.log import SILENT
from unweave.ndm import checkpoints
from unweave.ndm.config import NDMConfig
from unweave.ndm.fit import prepared
from unweave.ndm.presets import settled
from unweave.ndm.result import Outcome
from unweave.ndm.rows import open_rows
from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.orthogonal import deviation
from unweave.worlds.exclusive import exclusive_world

QUICK: dict[str, Any] = {"unit_size": 2, "steps": 40, "pool": 300, "batch": 64, "mi_queries": 300, "mi_keys": 500}


def same_fit(one, two) -> bool:
    entries = [[{k: v for k, v in row.items() if k != "seconds"} for row in result.history] for result in (one, two)]
    return torch.equal(one.featurizer.read, two.featurizer.read) and entries[0] == entries[1]


def test_the_groups_are_found_with_nothing_but_the_unit_size(world) -> None:
    found = uw.ndm.fit(world.rows, unit_size=1, seed=0, steps=100)
    assert found.partition == [3, 3]
    assert world.purity(found.featurizer.read, found.partition) > 0.99
    assert sum(len(group["parts"]) for group in found.merge_tree) == 2 * (len(found.start_sizes) - 2)
    assert found.outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("sizes", "rows", "steps"), [((3, 3), 3000, 200), pytest.param((4, 4, 4, 4), 8000, 300, marks=pytest.mark.slow)]
)
def test_cutting_downwards_finds_groups_that_quarters_of_a_block_can_meet(sizes, rows, steps) -> None:
    world = exclusive_world(sizes, rows, features=2, noise=0.001, seed=1)
    found = uw.ndm.fit(world.rows, unit_size=3, method="split", seed=0, steps=steps)
    assert found.partition == list(sizes)
    assert world.purity(found.featurizer.read, found.partition) > 0.999
    assert [row["event"] for row in found.history].count("split") == len(sizes) // 2


def test_an_escape_leaves_the_local_minimum_of_plain_descent() -> None:
    world = exclusive_world((2, 2), 6000, features=3, noise=0.0, seed=1)
    options = {"unit_size": 2, "init": "identity", "steps": 200, "pool": 1000, "mi_keys": 3000}
    trapped = uw.ndm.fit(world.rows, escape=0, **options)
    found = uw.ndm.fit(world.rows, escape=5, **options)
    assert trapped.partition == [4]  # two units, each half in both groups, share much
    assert found.partition == [2, 2]
    assert world.purity(found.featurizer.read, found.partition) > 0.99
    assert [row["event"] for row in found.history].count("escape") == 1


def test_the_history_says_what_happened(world) -> None:
    found = uw.ndm.fit(world.rows, **QUICK)
    for row in found.history:
        assert {"step", "train_loss", "loss", "lr", "seconds", "pool", "event"} <= row.keys()
        assert row["event"] in (None, "merge", "split", "escape", "stop")
    steps = [row["step"] for row in found.history]
    assert steps == sorted(steps)
    assert found.history[-1]["event"] == "stop"
    assert sum(found.partition) == 6
    assert found.mi.shape == (len(found.partition),) * 2


def test_never_merging_runs_all_steps(plain) -> None:
    found = uw.ndm.fit(plain, merge_thr=float("inf"), **QUICK)
    assert found.partition == [2, 2, 2]
    assert found.history[-1]["step"] == 40
    assert not found.merge_tree
    assert found.config.merging.threshold == "never"


def test_a_low_threshold_merges_everything_and_says_so(plain) -> None:
    found = uw.ndm.fit(plain, **{**QUICK, "merge_thr": 0.0, "mi_queries": 50})
    assert sum(found.partition) == 6
    assert any(row["event"] == "merge" for row in found.history)


@pytest.mark.parametrize("width", [5, 7])
def test_a_width_that_is_no_multiple(width) -> None:
    rows = torch.randn(400, width, generator=torch.Generator().manual_seed(1))
    found = uw.ndm.fit(rows, merge_thr=float("inf"), init="identity", **QUICK)
    assert found.partition == [2] * (width // 2) + [1]
    assert deviation(found.featurizer.read) < 1e-12


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("retraction", ["cayley", "expm"])
def test_it_stays_orthogonal_and_lowers_the_loss(world, metric, retraction) -> None:
    found = uw.ndm.fit(world.rows, metric=metric, retraction=retraction, merge_thr=float("inf"), init="random", **QUICK)
    assert deviation(found.featurizer.read) < 1e-12
    assert float(torch.det(found.featurizer.read)) > 0
    losses = [row["loss"] for row in found.history if row["loss"] is not None]
    assert losses[-1] < losses[0]
    h = world.rows[:50].double()
    z, residual = found.featurizer.encode(h)
    assert float(residual.abs().max()) < 1e-10
    assert float((found.featurizer.decode(z, residual) - h).abs().max()) < 1e-10


def test_equal_seeds_give_equal_bits_and_others_do_not(world) -> None:
    one, two = (uw.ndm.fit(world.rows, seed=3, **QUICK) for _ in range(2))
    assert same_fit(one, two)
    assert not same_fit(one, uw.ndm.fit(world.rows, seed=4, **QUICK))


def test_the_global_generators_are_left_alone(plain) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    rows = plain.clone()
    uw.ndm.fit(rows, **QUICK)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(rows, plain)


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("options", [{}, {"init": "identity", "escape": 1, "pool_refresh": 2, "refresh": 2}])
def test_killed_and_taken_up_is_uninterrupted(world, tmp_path, monkeypatch, stop, options) -> None:
    whole = uw.ndm.fit(world.rows, **QUICK, **options)
    saved = []
    plain_save = checkpoints.save

    def killed(value, path):
        plain_save(value, path)
        saved.append(value)
        if len(saved) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        uw.ndm.fit(world.rows, checkpoint=tmp_path / "c", **QUICK, **options)
    monkeypatch.setattr(checkpoints, "save", plain_save)
    assert 0 < saved[-1].done.state.step < 40
    resumed = uw.ndm.fit(world.rows, checkpoint=tmp_path / "c", **QUICK, **options)
    assert same_fit(whole, resumed)
    assert whole.merge_tree == resumed.merge_tree
    again = uw.ndm.fit(world.rows, checkpoint=tmp_path / "c", **QUICK, **options)
    assert torch.equal(again.featurizer.read, whole.featurizer.read)


def test_behind_a_url_a_fit_goes_on_from_the_last_whole_checkpoint(world, tmp_path) -> None:
    options = {**QUICK, "steps": 32, "pool": 64, "batch": 16, "mi_keys": 100, "mi_queries": 50}
    options |= {"init": "identity", "escape": 0}
    whole, config = uw.ndm.fit(world.rows, **options), settled(None, options)
    job = prepared(open_rows(world.rows, config, None), config, SILENT, 0.0)
    each = 6  # requests of a save: three old files go, three new ones come, the facts last
    for step, kept_steps in ((each - 1, None), (3 * each - 1, 16)):  # 16: the second of four saves
        fs = Recording(fail_at=step)
        fs.broken_write = kept_steps is not None  # half of the facts of the third are there
        place = fresh(fs)
        with pytest.raises(Killed):
            uw.ndm.fit(world.rows, checkpoint=place, **options)
        fs.fail_at = None
        kept = checkpoints.last_checkpoint(place, job, job.rows)
        assert (None if kept is None else kept.done.state.step) == kept_steps
    assert same_fit(whole, uw.ndm.fit(world.rows, checkpoint=place, **options))
    uw.ndm.fit(world.rows, checkpoint=f"file://{tmp_path}/c", **options)
    assert checkpoints.last_checkpoint(tmp_path / "c", job, job.rows).done.state.step == 32


def test_a_checkpoint_of_another_fit_is_refused(world, plain, tmp_path) -> None:
    uw.ndm.fit(world.rows, checkpoint=tmp_path / "c", **QUICK)
    for rows, options in ((world.rows, {"seed": 9}), (world.rows[1:], {})):
        with pytest.raises(FingerprintError, match="is of another fit"):
            uw.ndm.fit(rows, checkpoint=tmp_path / "c", **QUICK, **options)
    uw.save(uw.Direction(vector=[1.0]), tmp_path / "d")
    with pytest.raises(StoreError, match="holds a Direction, not a fit"):
        uw.ndm.fit(world.rows, checkpoint=tmp_path / "d", **QUICK)


def test_memory_changes_only_rounding(world) -> None:
    options = {**QUICK, "merge_thr": float("inf"), "init": "identity", "mi_keys": 400}
    much, little = (uw.ndm.fit(world.rows, memory=memory, **options) for memory in ("2GB", "100KB"))
    one, two = ([row["loss"] for row in result.history] for result in (much, little))
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert float((much.featurizer.read - little.featurizer.read).abs().max()) < 1e-4


def test_a_rotated_start_gives_the_rotated_fit(world) -> None:
    # law 1: the same steps in turned coordinates, up to float noise; the moments live where the rotation is
    from unweave.ndm.descent import start_state, step
    from unweave.ndm.objective import euclidean
    from unweave.tensors.neighbors import nearest_in_blocks

    turn = random_orthogonal(6, seed=5)
    X = world.rows.double()
    states = [start_state(torch.eye(6).double(), (2, 2, 2)), start_state(turn.T.contiguous(), (2, 2, 2))]
    for at in range(100):
        chosen = torch.randperm(3000, generator=torch.Generator().manual_seed(at))
        for which, rows in enumerate((X, X @ turn)):
            queries, keys = rows[chosen[:64]], rows[chosen[64:600]]
            R = states[which].rotation
            found = nearest_in_blocks(queries, keys, R, (2, 2, 2))
            states[which] = step(states[which], euclidean(queries, keys[found], R, (2, 2, 2)).gradient, 0.01)
    assert float((turn @ states[1].rotation - states[0].rotation).abs().max()) < 1e-6


@pytest.mark.slow
def test_a_hundred_thousand_steps_stay_orthogonal() -> None:
    from unweave.ndm.descent import POLISH_EVERY, start_state, step

    generator = torch.Generator().manual_seed(0)
    state, worst = start_state(torch.eye(64), (32, 32)), 0.0
    for _ in range(100_000):
        state = step(state, torch.randn(64, 64, generator=generator), 3e-3)
        if state.step % (50 * POLISH_EVERY) == 0:
            worst = max(worst, deviation(state.rotation))
    assert worst < 1e-6


def test_standardised_columns_give_an_exact_map_that_is_not_orthogonal(plain) -> None:
    rows = plain * torch.tensor([1.0, 10.0, 0.1, 1, 1, 5])
    found = uw.ndm.fit(rows, standardize="column", center=True, **QUICK)
    z, residual = found.featurizer.encode(rows)
    assert float(residual.abs().max()) < 1e-4
    np.testing.assert_allclose(z.double().var(0).sum(), 6, rtol=0.02)
    assert deviation(found.featurizer.read) > 0.1
    assert found.config.rows.standardize == "column"


def test_constant_columns_stand_in_the_last_block(plain) -> None:
    rows = torch.cat([plain[:, :3], torch.full((600, 1), 7.0), plain[:, 3:]], 1)
    found = uw.ndm.fit(rows, merge_thr=float("inf"), init="identity", **QUICK)
    assert found.partition == [2, 2, 3]
    assert deviation(found.featurizer.read) < 1e-12
    assert found.featurizer.read[3, -1] == 1
    assert any("1 of 7 columns are constant" in warning for warning in found.warnings)


def test_one_block_is_returned_at_once(plain) -> None:
    found = uw.ndm.fit(plain, unit_size=6)
    assert found.partition == [6]
    assert found.outcome is Outcome.ONE_BLOCK
    assert any("nothing to optimise" in warning for warning in found.warnings)
    assert uw.ndm.fit(plain, unit_size=50).partition == [6]


def test_few_rows_are_all_keys(plain) -> None:
    found = uw.ndm.fit(plain[:60], **{**QUICK, "pool": 5000})
    assert any("fewer than pool + batch" in warning and "N = 53" in warning for warning in found.warnings)
    assert uw.ndm.fit(plain[:3], **QUICK).partition


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 3)), r"X has shape \(0, 3\)"),
        (np.zeros(5), r"X has shape \(5,\): a matrix"),
        (np.ones((1, 3)), "X has 1 rows to use: at least two"),
        (np.ones((50, 3)), "all rows are equal"),
        (np.array([[1.0, 2], [np.nan, 1], [3, np.inf]]), "2 rows of X are NaN or infinite, the first is row 1"),
    ],
)
def test_rows_that_cannot_be_parted(rows, message) -> None:
    with pytest.raises(InputError, match=message):
        uw.ndm.fit(rows, unit_size=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "gtp2"}, "unknown preset 'gtp2'; nearest: 'gpt2'"),
        ({"metric": "euclid"}, "metric: input should be 'euclidean' or 'cosine'"),
        ({"unit_size": 0}, "unit_size"),
        ({"memory": "lots"}, "memory is 'lots'"),
        ({"exclude_same": "document"}, "no column 'document' beside the rows"),
        ({"drop_first": 1}, "no column 'position' beside the rows"),
        ({"rows": {"document": [1, 2]}}, r"rows\['document'\] has 2 entries but X has 600 rows"),
    ],
)
def test_options_that_do_not_fit(plain, options, message) -> None:
    with pytest.raises(InputError, match=message):
        uw.ndm.fit(plain, **options)


def test_a_result_comes_back_from_disk(world, tmp_path) -> None:
    found = uw.ndm.fit(world.rows, **QUICK)
    loaded = uw.load(uw.save(found, tmp_path / "r"))
    assert samples.same(found, loaded)
    assert loaded.partition == found.partition
    assert loaded.table() == found.table()
    assert repr(loaded) == repr(found)
    assert isinstance(loaded.config, NDMConfig)


def test_presets_are_the_published_settings() -> None:
    from unweave.ndm.presets import settled

    gpt2 = settled("gpt2", {})
    assert (gpt2.unit_size, gpt2.steps, gpt2.lr, gpt2.search.pool, gpt2.search.batch) == (
        32,
        100_000,
        3e-4,
        409_600,
        128,
    )
    assert (gpt2.merging.start, gpt2.merging.interval, gpt2.merging.threshold) == (20_000, 8000, 0.04)
    assert gpt2.schedule == "constant"
    assert settled("gemma-2-2b", {"steps": 5}).merging.threshold == 0.01
    assert settled("gemma-2-2b", {"steps": 5}).steps == 5
