"""Preimages, labels and consistency of blocks, edits: against brute force and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import InputError, MissingPackage, UnknownName
from unweave.features.affine import AffineFeaturizer
from unweave.ndm.merging import merge, plan_merges, split, unmerge
from unweave.ndm.preimages import BINS
from unweave.tensors.linalg import random_orthogonal

TEXTS = [f"Order {n} of {2 * n} pieces arrived in {month}." for n in range(6) for month in ("May", "June")]


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def turned() -> AffineFeaturizer:
    return AffineFeaturizer(read=random_orthogonal(6, seed=1), blocks=(3, 2, 1), gauge="rotation")


@pytest.fixture(scope="module")
def store(tmp_path_factory, docs) -> uw.ActivationStore:
    return uw.collect(docs, TEXTS, "blocks.1.resid_post", tmp_path_factory.mktemp("s") / "store")


@pytest.mark.parametrize("measure", ["cosine", "distance"])
@pytest.mark.parametrize("chunk", [37, 10_000])
def test_the_nearest_are_those_of_brute_force(rows, turned, measure, chunk) -> None:
    found = uw.ndm.Preimages(X=rows, featurizer=turned, chunk=chunk).query(5, block=1, measure=measure, k=15)
    z = (rows.double() @ turned.read)[:, 3:5]
    if measure == "cosine":
        values = torch.cosine_similarity(z, z[5][None], dim=1)
    else:
        values = -(z - z[5]).norm(dim=1) / z[5].norm()
    order = values.argsort(descending=True)[:15]
    assert [hit.row for hit in found.hits] == order.tolist()
    np.testing.assert_allclose([hit.similarity for hit in found.hits], values[order].numpy(), atol=1e-5)
    assert found.hits[0].row == 5
    assert sum(found.counts) == 400
    assert len(found.counts) == BINS == len(found.edges()) - 1
    assert found.within == int((values >= found.threshold).sum())


def test_views_are_what_they_say(rows, turned) -> None:
    reader = uw.ndm.Preimages(X=rows, featurizer=turned)
    nearest = reader.query(5, block=1, k=400)
    random = reader.query(5, block=1, view="random", k=10, threshold=0.5, seed=1)
    assert all(hit.similarity >= 0.5 for hit in random.hits)
    assert random.table() == reader.query(5, block=1, view="random", k=10, threshold=0.5, seed=1).table()
    assert random.table() != reader.query(5, block=1, view="random", k=10, threshold=0.5, seed=2).table()
    spread = reader.query(5, block=1, view="stratified", k=20)
    place = {hit.row: number for number, hit in enumerate(nearest.hits)}
    assert [place[hit.row] // 40 for hit in spread.hits] == [decile for decile in range(10) for _ in range(2)]
    doubled = uw.ndm.Preimages(X=torch.cat([rows, rows]), featurizer=turned).query(5, block=1, view="diverse", k=10)
    assert len({hit.similarity for hit in doubled.hits}) == 10


def test_a_query_may_come_from_elsewhere_and_span_blocks(rows, turned) -> None:
    reader = uw.ndm.Preimages(X=rows, featurizer=turned)
    assert reader.query(2 * rows[9], block=[0, 2], k=1).hits[0].row == 9
    assert reader.query(rows[9], block=None, measure="distance", k=1).hits[0].row == 9
    assert reader.coordinates([9], 0).shape == (1, 3)


def test_duplicates_are_told(rows, turned) -> None:
    same = torch.cat([rows[:20], rows[:1].expand(30, 6)])
    found = uw.ndm.Preimages(X=same, featurizer=turned).query(0, block=0, k=20)
    assert found.duplicates > 0.9
    assert any("equal to the query" in warning for warning in found.warnings)


def test_text_is_found_and_shown(store) -> None:
    column = store["blocks.1.resid_post"]
    reader = uw.ndm.Preimages(X=column, featurizer=AffineFeaturizer(read=np.eye(192), blocks=(96, 96)))
    places = reader.find("June")
    assert len(places) == 6
    assert reader.find(r"Ma\w", regex=True, limit=2) == reader.find("May", limit=2)
    found = reader.query(places[0], block=0, k=5)
    assert found.query.document == 1
    assert "June" in "".join(found.query.tokens)
    assert "June".endswith(found.query.tokens[found.query.focus].strip())
    assert found.hits[0].row == places[0]
    assert all(row["text"] for row in found.table() if row["position"] >= 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"asked": 400, "block": 0}, InputError, "row 400 is not there"),
        ({"asked": 0, "block": 3}, InputError, r"blocks 0\.\.2"),
        ({"asked": torch.ones(5), "block": 0}, InputError, "the query has shape"),
        ({"asked": torch.zeros(6), "block": 0}, InputError, "zero in this block"),
        ({"asked": 0, "block": 0, "measure": "cosin"}, UnknownName, "nearest: 'cosine'"),
        ({"asked": 0, "block": 0, "view": "best"}, UnknownName, "unknown view"),
        ({"asked": 0, "block": 0, "k": 0}, InputError, "at least one row"),
    ],
)
def test_questions_that_cannot_be_asked(rows, turned, options, error, message) -> None:
    reader = uw.ndm.Preimages(X=rows, featurizer=turned)
    with pytest.raises(error, match=message):
        reader.query(options.pop("asked"), **options)


@pytest.mark.parametrize("block", [0, 1, 2])
def test_faiss_gives_the_same_answers(rows, turned, block) -> None:
    reader = uw.ndm.Preimages(X=rows, featurizer=turned, chunk=150)
    exact, fast = (reader.query(7, block=block, k=12, index=index) for index in ("exact", "faiss"))
    near = [hit.similarity for hit in fast.hits]
    np.testing.assert_allclose(near, [hit.similarity for hit in exact.hits], atol=1e-5)
    if turned.blocks[block] > 1:  # in one dimension every cosine is 1 or -1
        assert [hit.row for hit in fast.hits] == [hit.row for hit in exact.hits]
    with pytest.raises(InputError, match="faiss searches the nearest by cosine"):
        reader.query(7, block=block, index="faiss", measure="distance")


def test_faiss_is_named_where_it_is_missing(rows, turned, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    reader = uw.ndm.Preimages(X=rows, featurizer=turned)
    with pytest.raises(MissingPackage, match=r"unweave\[ann\]"):
        reader.query(0, block=0, index="faiss")
    with pytest.raises(InputError, match="plain matrix"):
        reader.find("text")


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose first block holds a class and whose second holds nothing; documents of five rows."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 4, 1200)
    first = np.eye(4)[kind] @ rng.normal(size=(4, 3)) + 0.05 * rng.normal(size=(1200, 3))
    turn = random_orthogonal(6, seed=2).numpy()
    return np.concatenate([first, rng.normal(size=(1200, 3))], 1) @ turn.T, kind, np.arange(1200) // 5, turn


def test_labels_name_the_block_that_holds_a_class() -> None:
    X, kind, documents, turn = planted()
    f = AffineFeaturizer(read=turn, blocks=(3, 3))
    first, second = uw.ndm.label_blocks(X, f, {"kind": (kind == 0).astype(int)}, groups=documents)
    assert (first.verdict, second.verdict) == ("encodes", "does not")
    assert first.decode > 0.9
    assert 0.3 < first.shuffled < 0.7
    assert 0.4 < first.complement < 0.6
    assert second.complement == pytest.approx(first.decode)
    assert first.agreement > 0.95
    assert abs(second.agreement - second.base) < 0.05
    rare = np.zeros(1200, dtype=int)
    rare[:3] = 1
    assert uw.ndm.label_blocks(X, f, {"rare": rare}, groups=documents) == []


def test_a_block_that_holds_a_class_is_consistent_and_a_random_one_is_not() -> None:
    X, kind, documents, turn = planted()
    f = AffineFeaturizer(read=turn, blocks=(3, 3))
    own, other = uw.ndm.block_consistency(X, f, {"kind": kind, "always": np.zeros(1200)}, groups=documents)
    assert own.share > 0.95
    assert own.difference.low > 0
    assert own.attributes[0][0] == "kind"
    assert dict(own.attributes)["always"] == 0  # common values are nothing to agree on
    assert other.share < 0.1


def test_reading_refuses_rows_of_another_width(rows, turned) -> None:
    for ask in (
        lambda: uw.ndm.Preimages(X=rows[:, :4], featurizer=turned),
        lambda: uw.ndm.label_blocks(rows[:, :4], turned, {"a": np.zeros(400)}),
        lambda: uw.ndm.block_consistency(rows[:, :4], turned, {}),
    ):
        with pytest.raises(InputError, match="width 6"):
            ask()
    with pytest.raises(InputError, match="one label a row"):
        uw.ndm.label_blocks(rows, turned, {"a": np.zeros(3)})


def test_attributions_add_up(docs) -> None:
    f = AffineFeaturizer(read=random_orthogonal(192, seed=0), blocks=(64, 128), site="blocks.1.resid_post")
    text = "The for statement is used to iterate."
    target = docs.capture(docs.tokenize([text]), ["blocks.1.resid_post"])["blocks.1.resid_post"][0, 3]
    found = uw.ndm.attribute(docs, text, 3, target, f, block=1, most_steps=64)
    assert found.similarity == pytest.approx(1, abs=1e-5)
    assert float(found.values.sum()) + found.gap == pytest.approx(found.similarity - found.baseline, abs=1e-5)
    assert abs(found.gap) < 0.05
    assert float(found.values[4:].abs().max()) == 0  # a causal model does not see what comes after
    with pytest.raises(InputError, match="the text has"):
        uw.ndm.attribute(docs, text, 99, target, f, block=1)


def test_edits_exchange_one_block_each(rows, turned) -> None:
    base, source = rows[:8].reshape(2, 4, 6), rows[8:16].reshape(2, 4, 6)
    found = uw.ndm.block_edits(turned, base, source, positions=[1, 3])
    z, e = turned.encode(base)
    y, _ = turned.encode(source)
    for number, block in enumerate((slice(0, 3), slice(3, 5), slice(5, 6))):
        mixed = z.clone()
        mixed[:, [1, 3], block] = y[:, [1, 3], block]
        torch.testing.assert_close(found.edited[number], turned.decode(mixed, e), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.whole[:, [1, 3]], source[:, [1, 3]])
    torch.testing.assert_close(found.whole[:, [0, 2]], base[:, [0, 2]])
    moved = (found.edited - base).sum(0) + base  # blocks add up to the whole
    torch.testing.assert_close(moved, found.whole, rtol=0, atol=1e-5)
    same = uw.ndm.block_edits(turned, base, base, blocks=[2])
    assert torch.equal(same.edited[0], base)
    mask = torch.tensor([False, True, False, True])
    assert torch.equal(uw.ndm.block_edits(turned, base, source, positions=mask).edited, found.edited)
    for options, message in (({"blocks": [3]}, "numbers in 0..2"), ({"positions": [4]}, "positions run from")):
        with pytest.raises(InputError, match=message):
            uw.ndm.block_edits(turned, base, source, **options)
    with pytest.raises(InputError, match="one shape"):
        uw.ndm.block_edits(turned, base, source[:1])


def test_merging_and_splitting_back_restores_everything() -> None:
    f = AffineFeaturizer(read=random_orthogonal(7, seed=0), blocks=(2, 2, 2, 1))
    plan = plan_merges({(0, 2): 0.5, (1, 3): 0.4, (0, 1): 0.9, (2, 3): 0.8}, f.blocks, 0.3, cap=2)
    assert plan.pairs == ((0, 1), (2, 3))
    assert plan.sizes == (4, 3)
    joined = merge(f, plan.pairs)
    assert joined.blocks == plan.sizes
    back = unmerge(joined, plan, f.blocks)
    assert back.blocks == f.blocks
    assert torch.equal(back.read, f.read)
    assert torch.equal(back.write, f.write)
    again = split(joined, 0, (2, 2))
    assert again.blocks == (3, 2, 2)
    assert uw.ndm.match(again, f).mean_overlap < 1
    for wrong in ([(0, 0)], [(0, 9)]):
        with pytest.raises(InputError, match="at most once"):
            merge(f, wrong)
    with pytest.raises(InputError, match="sum to 2"):
        split(f, 0, (1, 2))


def test_matching_finds_the_blocks_again_and_says_what_chance_gives() -> None:
    read = random_orthogonal(8, seed=0)
    one = AffineFeaturizer(read=read, blocks=(4, 2, 2))
    mixed = [read[:, 6:], read[:, :4] @ random_orthogonal(4, seed=3), read[:, 4:6]]
    other = AffineFeaturizer(read=torch.cat(mixed, 1), blocks=(2, 4, 2))
    found = uw.ndm.match(one, other)
    assert {(m.first, m.second) for m in found.blocks} == {(0, 1), (1, 2), (2, 0)}
    assert found.mean_overlap == pytest.approx(1, abs=1e-12)
    told = uw.ndm.stability([one, other, AffineFeaturizer(read=random_orthogonal(8, seed=9), blocks=(4, 2, 2))])
    assert told["null"] < told["lowest"] < 0.95 < 1
    with pytest.raises(InputError, match="give two or more"):
        uw.ndm.stability([one])
