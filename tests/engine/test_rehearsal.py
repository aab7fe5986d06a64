"""What a command will cost, from doing a little of it: the arithmetic exactly, memory and bytes as they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import unweave as uw
from unweave.engine import rehearsal
from unweave.engine.rehearsal import Cost, Rehearsal, Rehearsed, at_full, rehearse
from unweave.errors import DataError


@pytest.mark.parametrize(
    ("work", "full"),
    [
        ([(1,), (3,)], (500,)),
        ([(1, 0), (3, 0), (1, 2)], (70, 9)),
        ([(1, 1), (2, 1), (1, 2), (4, 4)], (9, 9)),
    ],
)
def test_what_is_linear_is_carried_on_exactly(work, full):
    def cost(kinds):
        return 5 + sum((number + 2) * kind for number, kind in enumerate(kinds))

    assert at_full(work, [cost(one) for one in work], full) == pytest.approx(cost(full))


def test_one_rehearsal_gives_what_it_took_and_nothing_falls_below_zero():
    assert at_full([(4,)], [3.0], (4,)) == pytest.approx(3.0)
    assert at_full([(1,), (2,)], [3.0, 2.0], (1000,)) == pytest.approx(2.5)  # less work took longer: noise


class Work:
    """Parts whose runs take what they say: a constant the first time of all, and so much a unit."""

    def __init__(self, monkeypatch, *, once=0.0, each=1.0):
        """Replaces the clock."""
        self.ran, self.now, self.once, self.each = [], 0.0, once, each
        monkeypatch.setattr(rehearsal, "idle_seconds", lambda: self.now)
        monkeypatch.setattr(rehearsal, "give_back", lambda: None)

    def run(self, size):
        """One part."""
        self.now += self.each * size + (0 if self.ran else self.once)
        self.ran.append(size)
        return []

    def parts(self, *sizes):
        """The rehearsals."""
        return [Rehearsal(run=partial(self.run, size), work=(size,)) for size in sizes]


@pytest.mark.parametrize(
    ("once", "each", "sizes", "ran"),
    [
        (0.0, 0.1, (1, 4), [1, 1, 4]),
        (0.0, 20.0, (1, 4), [1, 4]),  # long: what is done once does not matter
        (30.0, 0.1, (1, 4), [1, 4, 1]),  # it looked long, and the larger one tells that it was not
        (30.0, 0.1, (1, 4, 9), [1, 4, 1, 9]),
        (0.0, 2.0, (1, 4, 9), [1, 1, 4]),  # the largest only while all takes little
    ],
)
def test_the_first_run_is_repeated_unless_it_is_long(monkeypatch, once, each, sizes, ran):
    work = Work(monkeypatch, once=once, each=each)
    found = rehearse(work.parts(*sizes))
    assert work.ran == ran
    assert found.cost((100,), rows=1).seconds == pytest.approx(once + 100 * each)
    assert found.spent == pytest.approx(once + sum(ran) * each)


def test_what_is_done_once_counts_once():
    found = Rehearsed(work=((1.0,), (2.0,)), seconds=(3.0, 5.0), held=(10, 20), written=(100, 150), before=0, once=7.0)
    cost = found.cost((10,), rows=4)
    assert (cost.seconds, cost.disk_bytes) == (pytest.approx(7 + 21), 550)
    assert cost.peak_bytes == pytest.approx(100)
    assert found.cost((10,), rows=4, grows=5).peak_bytes == 25


def test_bytes_are_those_of_the_saved_results(tmp_path):
    one = uw.Direction(vector=torch.ones(300))
    saved = sum(file.stat().st_size for file in Path(uw.save(one, tmp_path / "d")).rglob("*"))
    found = rehearse([Rehearsal(run=lambda: [one, 17], work=(1,))])
    assert found.written == (saved + 17,)


def test_memory_is_the_highest_that_was_held():
    if not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")

    def hold(megabytes):
        return [int(torch.ones(megabytes << 18).sum() < 0)]

    made = rehearse([Rehearsal(run=partial(hold, n), work=(n,)) for n in (1, 64)])
    assert 60 << 20 < made.held[1] < 90 << 20  # 64 MB, and what the allocator keeps
    assert made.held[0] < 20 << 20


def test_what_one_rehearsal_leaves_behind_is_not_counted_for_the_next():
    if not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")
    left = []

    def run():
        if not left:
            left.append(torch.ones(32 << 18))  # what is loaded once and stays
        return [int(torch.ones(1 << 18).sum() < 0)]

    made = rehearse([Rehearsal(run=run, work=(1,)), Rehearsal(run=run, work=(1,))])
    assert 30 << 20 < made.held[0] < 50 << 20
    assert made.held[1] < made.held[0] + (10 << 20)


def test_errors_of_the_work_are_those_of_the_plan():
    def run():
        raise DataError("no feature can be probed")

    with pytest.raises(DataError, match="no feature can be probed"):
        rehearse([Rehearsal(run=run, work=(1,))])


def test_a_cost_for_people_and_programs():
    cost = Cost(rows=3, disk_bytes=1_500_000, peak_bytes=20_000_000, seconds=90.4)
    assert cost.line() == "1.5 MB on disk, about 20 MB of memory and 90 s"
    assert cost.facts() == {"rows": 3, "disk_bytes": 1_500_000, "peak_bytes": 20_000_000, "seconds": 90.4}
