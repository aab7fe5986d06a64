"""Many features on one matrix: sharing the pass over the rows changes nothing."""

import numpy as np
import pytest
import torch

from unweave.probing import auto
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import probe_all
from unweave.probing.problem import split_problem
from unweave.probing.screening import MOST_MASKS, Task, screens, screens_together
from unweave.probing.together import probe_together
from unweave.tensors.splits import grouping
from unweave.worlds import planted


def problems_and_places(config, n=900, features=3):
    world = planted("easy", n, 340, features=features, seed=1)
    rng = np.random.default_rng(0)
    problems, places = [], []
    for number, labels in enumerate(world.labels.T):
        place = np.sort(rng.permutation(n)[: n - 120 * number])
        problems.append(split_problem(labels[place] == 1, grouping(world.groups[place], len(place)), config))
        places.append(place)
    return torch.from_numpy(world.sites[0]), problems, places


@pytest.mark.parametrize("selector", ["std_mean_diff", "welch_t", "auto", "telescope", "coef"])
def test_features_together_are_features_alone(selector):
    config = ProbeConfig(ks=(1, 4), selector=selector, shuffles=2, bootstrap=100)
    rows, problems, places = problems_and_places(config)
    together = probe_together(rows, problems, places, config)
    assert len(together) == 3
    for found, problem, place in zip(together, problems, places, strict=True):
        alone = probe_all(rows[torch.from_numpy(place)], problem, config)
        for one, two in zip(found, alone, strict=True):
            assert one.support == two.support
            assert one.selector == two.selector
            np.testing.assert_allclose(one.coef, two.coef, atol=1e-7)
            assert one.f1 == two.f1
            assert one.counts == two.counts


def test_screens_of_more_weightings_than_one_pass_takes_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(300, 40)))
    tasks = []
    for _ in range(3):
        place = np.sort(rng.permutation(300)[:250])
        labellings = rng.random((MOST_MASKS // 6, 250)) < 0.3
        tasks.append(Task(place=place, labellings=labellings, folds=rng.integers(0, 3, 250)))
    for task, found in zip(tasks, screens_together(rows, tasks), strict=True):
        alone = screens(rows[torch.from_numpy(task.place)], task.labellings, task.folds)
        torch.testing.assert_close(found.strength, alone.strength, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.sd, alone.sd, rtol=1e-9, atol=0)
        np.testing.assert_allclose(found.sd, rows[torch.from_numpy(task.place)].numpy().std(0), rtol=1e-9)


def test_a_search_on_a_draw_of_the_rows_finds_the_planted_units(monkeypatch):
    """With fewer rows than there are the search sees as many positives in proportion, and the refit sees all rows."""
    config = ProbeConfig(ks=(8,), shuffles=0, bootstrap=100)
    world = planted("easy", 6000, 400, seed=0)
    problem = split_problem(world.labels[:, 0] == 1, grouping(world.groups, 6000), config)
    monkeypatch.setattr(auto, "MOST_ROWS", 3000)
    (found,) = probe_all(torch.from_numpy(world.sites[0]), problem, config)
    assert set(found.support) == set(world.members[0][0].tolist())
    assert found.n_train == int((~problem.held_out).sum()) > 4000
    labels = np.arange(9000) % 10 == 0
    few = auto._few(labels, 0)
    assert (len(few), int(labels[few].sum())) == (3000, 300)
    assert (np.diff(few) > 0).all()
    assert auto._few(labels[:3000], 0).tolist() == list(range(3000))
