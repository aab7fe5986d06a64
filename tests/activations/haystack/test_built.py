"""What builders give: too small features are listed, rows match the store, order does not matter."""

from collections import Counter

import numpy as np
import pytest

import stores
import unweave as uw
from unweave.activations.haystack.built import TokenFeature, finished, finished_together, identity
from unweave.activations.labels import groups_of
from unweave.activations.prepared import Prepared
from unweave.errors import InputError

LENGTH = 6


def sequences(count=30, **changes):
    return [Prepared(**({"ids": tuple(range(3, 3 + LENGTH)), "group": f"g{n // 2}"} | changes)) for n in range(count)]


def feature(name="f", count=30, positives=20, places=(2, 4)):
    sequence = np.repeat(np.arange(count), len(places))
    return TokenFeature(
        name=name,
        sequence=sequence,
        position=np.tile(np.array(places), count),
        values=np.arange(len(sequence)) % 2 == 0 if positives is None else np.arange(len(sequence)) < positives,
    )


def build(features, given=None, **options):
    return finished("c", given or sequences(), features, **{"context": 16, "drops": Counter(), "seed": 0, **options})


def test_sequences_keep_only_what_features_look_at():
    built = build([feature(places=(2, 4)), feature("g", places=(1, 4))])
    assert {one.keep for one in built.sequences} == {(1, 2, 4)}
    fewer = build([feature(count=25)])
    assert len(fewer.sequences) == 25
    assert fewer.drops == {"sequences without a labelled row": 5}


@pytest.mark.parametrize(
    ("count", "positives", "message"),
    [
        (30, 19, "19 positives in 5 groups: at least 20 in 5 are needed"),
        (30, 0, "0 positives in 0 groups: at least 20 in 5 are needed"),
        (30, 60, "0 negatives in 0 groups: at least 20 in 5 are needed"),
    ],
)
def test_a_feature_that_is_too_small_is_skipped_and_listed(count, positives, message):
    built = build([feature("small", count, positives), feature("large", positives=None)])
    assert [one.name for one in built.features] == ["large"]
    assert built.skipped == {"small": message}
    assert built.report()[-1]["status"] == message


def test_groups_count_and_not_sequences():
    """Forty positives in four groups are as good as one group each side of a split."""
    crowded = sequences(30, group="all in one")
    assert "in 1 groups" in build([feature(positives=None)], crowded).skipped["f"]


def test_a_collection_can_ask_for_more_positives():
    assert build([feature(positives=29)], least=30).skipped == {
        "f": "29 positives in 8 groups: at least 30 in 5 are needed"
    }


def test_the_report_counts():
    (told,) = build([feature(positives=24)]).report()
    assert told == {
        "feature": "f", "rows": 60, "positives": 24, "groups": 15, "groups_with_positives": 6,
        "status": "built", "note": "",
    }  # fmt: skip


def test_labels_land_on_the_rows_of_the_store(tmp_path):
    rng = np.random.default_rng(0)
    places = np.array([(number, place) for number in range(30) for place in range(LENGTH)])
    chosen = places[rng.permutation(len(places))[:90]]  # in any order
    shuffled = TokenFeature(
        name="f", sequence=chosen[:, 0], position=chosen[:, 1], values=rng.random(90) < 0.5, strata=("x",) * 90
    )
    truth = {(int(a), int(b)): bool(v) for (a, b), v in zip(chosen, shuffled.values, strict=True)}
    built = build([shuffled])
    store = uw.collect(stores.model_of(), built.sequences, "embed", tmp_path / "s", context=16, shard_rows=40)
    (found,) = built.labelled(store)
    rows = list(
        zip(store.rows["document"][found.index].tolist(), store.rows["position"][found.index].tolist(), strict=True)
    )
    assert dict(zip(rows, found.values.tolist(), strict=True)) == truth
    groups = groups_of(found, store)
    assert (groups == store.rows["document"][found.index] // 2 * 2).all()
    with pytest.raises(InputError, match="was not collected from the sequences of c: collect"):
        build([feature()]).labelled(store)


def test_collections_on_the_same_sequences_share_them():
    both = finished_together(
        {"a": [feature(places=(0, 1))], "b": [feature(places=(3, 5)), feature("none", positives=0)]},
        sequences(), context=16, drops=Counter(), seed=0,
    )  # fmt: skip
    assert both["a"].sequences is both["b"].sequences
    assert {one.keep for one in both["a"].sequences} == {(0, 1, 3, 5)}
    assert both["a"].skipped == {}
    assert list(both["b"].skipped) == ["none"]


def test_identity_changes_with_what_is_built():
    tokenizer = stores.model_of().tokenizer
    one, same, other = build([feature()]), build([feature()]), build([feature(positives=22)])
    assert identity(one, tokenizer) == identity(same, tokenizer)
    assert identity(one, tokenizer) != identity(other, tokenizer)
