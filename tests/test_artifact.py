"""Every kind of result comes back equal to the bit, and equal results make equal files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import samples
import unweave as uw
from unweave.artifact import FACTS, KINDS, canonical_json, fingerprint, read_facts
from unweave.artifact_files import TENSORS, TIMINGS
from unweave.errors import InputError
from unweave.features.featurizer import Within
from unweave.site import Site

ARTIFACTS = samples.artifacts()


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in it, timings left out."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.name != TIMINGS}


def test_every_kind_has_a_sample() -> None:
    assert not samples.missing_kinds()
    assert set(ARTIFACTS) <= set(KINDS)


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_a_result_comes_back_equal_to_the_bit(kind: str, tmp_path: Path) -> None:
    value = ARTIFACTS[kind]
    path = uw.save(value, tmp_path / "a")
    assert path == tmp_path / "a"
    loaded = uw.load(path)
    assert samples.same(value, loaded)
    assert repr(loaded) == repr(value)
    assert read_facts(path)["kind"] == kind


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_equal_results_make_equal_files(kind: str, tmp_path: Path) -> None:
    first = uw.save(ARTIFACTS[kind], tmp_path / "a")
    second = uw.save(samples.artifacts()[kind], tmp_path / "b")
    again = uw.save(uw.load(first), tmp_path / "c")
    assert files_of(first) == files_of(second) == files_of(again)


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_saving_changes_nothing_in_memory(kind: str, tmp_path: Path) -> None:
    value, fresh = ARTIFACTS[kind], samples.artifacts()[kind]
    uw.save(value, tmp_path / "a")
    assert samples.same(value, fresh)


@pytest.mark.parametrize("name", samples.featurizers())
def test_a_loaded_featurizer_computes_the_same(name: str, tmp_path: Path) -> None:
    featurizer = samples.featurizers()[name]
    loaded = uw.load(uw.save(featurizer, tmp_path / "a"))
    h = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    for one, two in zip(featurizer.encode(h), loaded.encode(h), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
def test_dtypes_and_odd_values_are_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.tensor([[0.0, -0.0, 1 / 3], [float("nan"), float("inf"), 1e-7]]).to(dtype)
    edge = uw.features.graph.EdgeBlock(source="a", target="b", weight=weight)
    assert samples.same(edge, uw.load(uw.save(edge, tmp_path / "a")))


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 0)])
def test_empty_and_single_tensors_are_kept(shape: tuple[int, int], tmp_path: Path) -> None:
    edge = uw.features.graph.EdgeBlock(source="a", target="b", weight=torch.zeros(shape))
    assert samples.same(edge, uw.load(uw.save(edge, tmp_path / "a")))


VIEWS = {
    "transposed": torch.arange(12.0).reshape(3, 4).T,
    "strided": torch.arange(12.0)[::2].reshape(3, 2),
    "expanded": torch.ones(1).expand(2, 2),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_stored_whole(name: str, tmp_path: Path) -> None:
    weight = VIEWS[name]
    edge = uw.features.graph.EdgeBlock(source="a", target="b", weight=weight)
    loaded = uw.load(uw.save(edge, tmp_path / "a"))
    assert torch.equal(loaded.weight, weight)


def test_a_tensor_in_a_graph_is_stored_without_it(tmp_path: Path) -> None:
    edge = uw.features.graph.EdgeBlock(source="a", target="b", weight=2 * torch.ones(1, 1, requires_grad=True))
    loaded = uw.load(uw.save(edge, tmp_path / "a"))
    assert edge.weight.requires_grad
    assert not loaded.weight.requires_grad


def test_tensors_that_share_memory_are_stored_apart(tmp_path: Path) -> None:
    shared = uw.AffineFeaturizer(read=(read := torch.eye(3)), write=read)
    loaded = uw.load(uw.save(shared, tmp_path / "a"))
    loaded.read[0, 0] = 7.0
    assert loaded.write[0, 0] == 1.0


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a box that holds anything one of the kinds."""
    monkeypatch.setattr("unweave.artifact.KINDS", samples.BOXES)


ODD = {
    "nothing": None,
    "numbers": (0, -1, 2**70, True, False, 0.1, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324),
    "texts": ["", "é\n\u2028\x00", "\ud800", "$tensor", "\U0001f9f6"],
    "nested": ((), [], {}, ((1,), [2, (3,)]), {(1, "a"): {None: [Site("hook_embed")]}}),
    "keys like our marks": {"$tensor": "value.content", "$kind": "box", "shape": [1]},
    "enums and sites": (Within.SIGN, Site("blocks.1.hook_resid_post"), "blocks.1.hook_resid_post"),
    "arrays": [np.arange(6).reshape(2, 3).T.astype(kind) for kind in ["b1", "u1", "i8", "f2", "f4", "f8", "bool"]],
    "scalars": [np.array(3.5), torch.tensor(2), torch.tensor(True)],
    "boxes": samples.Box(content=[samples.Box(content=torch.ones(2)), samples.Box(content=torch.zeros(2))]),
}


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize("name", ODD)
def test_any_content_comes_back_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    box = samples.Box(content=ODD[name])
    assert samples.same(uw.load(uw.save(box, tmp_path / "a")), box)


@pytest.mark.usefixtures("boxes")
def test_numbers_of_numpy_become_plain_ones(tmp_path: Path) -> None:
    box = samples.Box(content=(np.float64(0.1), np.int32(3), np.bool_(True), np.float32(0.5)))
    assert samples.same(uw.load(uw.save(box, tmp_path / "a")).content, (0.1, 3, True, 0.5))


@pytest.mark.usefixtures("boxes")
def test_keys_that_print_alike_do_not_collide(tmp_path: Path) -> None:
    arrays = {1: np.arange(3), "1": np.arange(3.0) + 7, (1,): np.array([True]), "(1,)": np.array(2.5)}
    sweeps = {None: samples.probe_sweep(seconds=1.0), "None": samples.probe_sweep(seconds=2.0)}
    path = uw.save(samples.Box(content=[{"a": arrays, "b": {}}, {"a.1": np.zeros(2)}, sweeps]), tmp_path / "a")
    first, second, timed = uw.load(path).content
    assert samples.same(first["a"], arrays)
    assert samples.same(second["a.1"], np.zeros(2))
    assert [sweep.seconds for sweep in timed.values()] == [1.0, 2.0]


def test_seconds_are_outside_every_checksum(tmp_path: Path) -> None:
    slow = uw.save(samples.probe_sweep(seconds=100.0), tmp_path / "slow")
    fast = uw.save(samples.probe_sweep(seconds=0.1), tmp_path / "fast")
    assert files_of(slow) == files_of(fast)
    assert uw.load(slow).seconds == 100.0
    (slow / TIMINGS).unlink()
    assert uw.load(slow).seconds is None


def test_an_artifact_holds_no_pickle_and_no_code(tmp_path: Path) -> None:
    folder = uw.save(ARTIFACTS["affine_featurizer"], tmp_path / "a")
    assert {file.name for file in folder.iterdir()} == {FACTS, TENSORS}
    assert not zipfile.is_zipfile(folder / TENSORS)
    for content in files_of(folder).values():
        assert not content.startswith(b"\x80")  # the first byte of a pickle of any protocol since 2
        assert b"unweave.features" not in content  # a kind, never a place that could be imported
    header = int.from_bytes((folder / TENSORS).read_bytes()[:8], "little")
    assert set(json.loads((folder / TENSORS).read_bytes()[8 : 8 + header])) == {
        f"value.{name}" for name in ("read", "write", "origin", "bias", "act.threshold")
    }


def test_files_can_be_read_as_other_files_can(tmp_path: Path) -> None:
    folder = uw.save(ARTIFACTS["moments"], tmp_path / "a")
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    assert all(file.stat().st_mode == mode for file in folder.iterdir())


class Stranger:
    """Nothing that an artifact can hold."""


@dataclasses.dataclass(frozen=True)
class Unlisted:
    """A dataclass that is no result."""


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "cannot save a int: uw.save writes results such as estimate"),
        ({"a": 1}, "cannot save a dict: uw.save writes results such as"),
        (Site("embed"), "cannot save a Site: uw.save writes results such as"),
        (Stranger(), "cannot save value: a Stranger has no place in an artifact"),
        (samples.Box(content={"a": Stranger()}), "cannot save content.a: a Stranger has no place in an artifact"),
        (samples.Box(content=[1, {2}]), "cannot save content.1: a set has no place in an artifact"),
        (samples.Box(content=np.array(["x"])), "cannot save content: a ndarray has no place in an artifact"),
        (samples.Box(content=1j), "cannot save content: a complex has no place in an artifact"),
        (Unlisted(), "cannot save a Unlisted: only the results listed in unweave.artifact.KINDS can be saved"),
        (
            samples.configs()[0].model_construct(),
            "cannot save a .*: only the results listed in unweave.artifact.KINDS can",
        ),
    ],
)
def test_what_is_no_result_is_refused(value: object, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        uw.save(value, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_facts_are_read_without_torch(tmp_path: Path) -> None:
    folder = uw.save(ARTIFACTS["affine_featurizer"], tmp_path / "a")
    script = (
        "import sys; from unweave.artifact import read_facts; facts = read_facts(sys.argv[1]);"
        "print(facts['kind'], sorted(facts), {'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ("affine_featurizer ['kind', 'library', 'schema', 'tensors', 'value'] set()")


def test_canonical_json_knows_values_not_their_order() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "é"]}) == '{"a":[1.5,null,"é"],"b":1}'
    assert fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert fingerprint("\ud800") != fingerprint("\ud801")
    assert len(fingerprint(None)) == 64
