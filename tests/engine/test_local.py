"""Units of work on threads: order, bounds, errors, and torch's own threads afterwards."""

from __future__ import annotations

import itertools
import os
import threading
import weakref

import pytest
import torch

from unweave.engine.local import default_workers, map_units, one_intra_op_thread
from unweave.errors import InputError

WORKERS = [1, 2, 3, 8]


@pytest.fixture(autouse=True)
def two_threads():
    """The caller has two intra-operation threads, which must be there again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_are_those_of_a_loop_in_the_order_of_the_units(workers, count):
    assert list(map_units(lambda unit: unit * unit, range(count), workers=workers)) == [n * n for n in range(count)]


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_order_is_kept_when_later_units_end_first(workers):
    """The first unit of each pair waits for the second one."""
    done = [threading.Event() for _ in range(20)]

    def work(unit: int) -> int:
        if unit % 2 == 0:
            assert done[unit + 1].wait(10)
        done[unit].set()
        return unit

    assert list(map_units(work, range(20), workers=workers)) == list(range(20))


@pytest.mark.parametrize("workers", WORKERS)
def test_no_more_units_are_drawn_than_can_be_worked_on(workers):
    drawn = 0

    def units():
        nonlocal drawn
        for unit in itertools.count():
            drawn += 1
            yield unit

    results = map_units(lambda unit: unit, units(), workers=workers)
    assert drawn == 0  # nothing before someone asks
    for taken in range(1, 30):
        assert next(results) == taken - 1
        assert drawn <= taken + workers
    results.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_no_more_run_at_once_than_there_are_workers(workers):
    lock, running, most = threading.Lock(), 0, 0

    def work(unit: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        torch.ones(100, 100) @ torch.ones(100, 100)
        with lock:
            running -= 1
        return unit

    assert len(list(map_units(work, range(60), workers=workers))) == 60
    assert most <= workers


@pytest.mark.parametrize("workers", [2, 4])
def test_all_workers_run_at_once(workers):
    """Each unit waits until as many are there as there are workers: with fewer threads it would time out."""
    together = threading.Barrier(workers)
    assert len(list(map_units(lambda _: together.wait(10), range(3 * workers), workers=workers))) == 3 * workers


def test_units_and_results_are_let_go():
    class Payload:
        """Something that can be watched."""

    alive: list[weakref.ref] = []

    def units():
        for _ in range(40):
            unit = Payload()
            alive.append(weakref.ref(unit))
            yield unit
            del unit

    for _ in map_units(lambda _unit: None, units(), workers=2):
        assert sum(reference() is not None for reference in alive) <= 2 + 2  # in work, waiting, and the one just drawn


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_drops_what_has_not_begun(workers, error):
    begun: list[int] = []

    def work(unit: int) -> int:
        begun.append(unit)
        if unit == 5:
            raise error("unit 5")
        return unit

    with pytest.raises(error, match="unit 5"):
        list(map_units(work, range(1000), workers=workers))
    assert max(begun) <= 5 + workers + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unweave")]


@pytest.mark.parametrize("workers", WORKERS)
def test_results_before_the_error_are_given_out(workers):
    def work(unit: int) -> int:
        return 1 // (3 - unit) if unit == 3 else unit

    results = map_units(work, range(10), workers=workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_the_units_themselves_is_raised(workers):
    def units():
        yield from range(3)
        raise OSError("cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        list(map_units(lambda unit: unit, units(), workers=workers))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_caller_that_stops_ends_the_work(workers):
    begun: list[int] = []
    results = map_units(lambda unit: begun.append(unit), range(1000), workers=workers)
    next(results)
    results.close()
    assert len(begun) <= workers + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unweave")]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("workers", WORKERS)
def test_torch_has_one_thread_in_every_unit(workers):
    def threads(_unit: int) -> int:
        return torch.get_num_threads()

    assert list(map_units(threads, range(12), workers=workers)) == [1] * 12


def test_one_thread_ends_with_the_block_also_after_an_error():
    with one_intra_op_thread():
        assert torch.get_num_threads() == 1
        with one_intra_op_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="inside"), one_intra_op_thread():
        raise ValueError("inside")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("workers", [0, -3])
def test_fewer_than_one_worker_is_refused(workers):
    with pytest.raises(InputError, match=f"workers is {workers}: at least one thread is needed"):
        list(map_units(abs, [1], workers=workers))


@pytest.mark.parametrize(
    ("value", "expected"), [("3", 3), ("1", 1), ("0", None), ("-2", None), ("two", None), ("", None)]
)
def test_workers_default_to_the_processors_or_what_openmp_is_told(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert default_workers() == (expected or processors)


def test_overlapping_holders_give_the_thread_count_back_once_the_last_has_left() -> None:
    before = torch.get_num_threads()
    first, second = one_intra_op_thread(), one_intra_op_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # the first one in leaves first, as two collections on two threads may
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before
