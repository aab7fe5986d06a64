"""Ablations: planted units are told from dead ones, the loop by hand gives the same numbers, bad input is refused."""

import numpy as np
import pytest
import torch

import laws_evals as laws
import tiny
import unweave as uw
from laws_evals import batches_of
from unweave.errors import DataError, FingerprintError, InputError
from unweave.evals import ablate, effects_of
from unweave.evals.causing.ablation import random_sets, unit_means
from unweave.evals.causing.effects import plain_run
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, random_rotation
from unweave.features.featurizer import Provenance
from unweave.features.neurons import NeuronFeaturizer
from unweave.models.edits import Edit
from unweave.models.operators import set_to

SITE = "blocks.1.mlp_act"
READ, DEAD = 5, 7
WINDOWS, DOCUMENT_COUNT = 60, 30
PLACES = WINDOWS * 11
"""Predicted tokens in windows of twelve."""
DOCUMENTS = np.repeat(np.arange(DOCUMENT_COUNT), 2)


def windows(*, count=WINDOWS, length=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, tiny.VOCABULARY, size=(count, length)).tolist()


@pytest.fixture(scope="module")
def model():
    """Its last block writes mostly what unit READ says, a little of the others, and nothing of DEAD."""
    module = tiny.module_of("llama")
    with torch.no_grad():
        matrix = module.model.layers[1].mlp.down_proj.weight
        matrix *= 0.05
        matrix[:, READ] = 25 * torch.randn(32, generator=torch.Generator().manual_seed(0))
        matrix[:, DEAD] = 0.0
    return uw.load_model(module)


@pytest.fixture(scope="module")
def plain(model):
    """Windows that the model itself wrote: on them any change of its predictions costs loss on average."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor(windows(length=1))
    while ids.shape[1] < 12:
        share = model(ids)[:, -1].softmax(1)
        ids = torch.cat([ids, torch.multinomial(share, 1, generator=generator)], 1)
    return plain_run(model, batches_of(ids.tolist()))


@pytest.fixture(scope="module")
def means(model):
    rows = model.capture(torch.tensor(windows(seed=1)), [SITE])[SITE].flatten(0, 1)
    return unit_means(neurons(48, site=SITE), [rows])


def test_the_unit_that_the_head_reads_matters_and_a_dead_one_does_not(model, plain, means):
    chosen = {"read": [READ], "dead": [DEAD]}
    read, dead = ablate(model, neurons(48, site=SITE), chosen, plain, DOCUMENTS, means=means, draws=10)
    assert read.difference.low > 0
    assert read.effect.low > read.effect.control
    assert dead.effect.value == 0
    assert dead.difference.high < read.difference.low
    assert (read.name, read.basis, read.units, read.draws) == ("read", "neurons", (READ,), 10)
    assert read.effect.n_groups == DOCUMENT_COUNT
    assert read.effect.n == PLACES


@pytest.mark.parametrize("kind", ["neurons", "rotation", "relu"])
def test_the_loop_by_hand_gives_the_same_numbers(model, plain, kind):
    """Edits, effects, control and paired means, one set of units at a time; intervals by drawing documents."""
    rng = np.random.default_rng(0)
    featurizer = {
        "neurons": neurons(48, site=SITE),
        "rotation": random_rotation(48, seed=0, site=SITE),
        "relu": AffineFeaturizer(
            read=rng.normal(size=(48, 60)) / 7, write=rng.normal(size=(60, 48)) / 7, site=SITE,
            act=Activation(kind="relu"),
        ),
    }[kind]  # fmt: skip
    count = sum(featurizer.blocks)
    means = torch.from_numpy(rng.normal(size=count))
    chosen = {"a": [1, 2, 3], "b": [9, 4, 7]}
    where = {name: rng.random(PLACES) < 0.4 for name in chosen}
    found = ablate(model, featurizer, chosen, plain, DOCUMENTS, means=means, places=where, draws=3, seed=2)

    def effect(units):
        edit = Edit(site=SITE, operator=set_to(means[units]), featurizer=featurizer, units=units)
        return effects_of(model, plain, edit)

    controls = [effect(units).values for units in random_sets(count, 3, exclude={1, 2, 3, 4, 7, 9}, count=3, seed=2)]
    level = np.mean(controls, axis=0)
    for one in found:
        whole = effect(chosen[one.name])
        here = where[one.name]
        assert one.effect.value == pytest.approx(whole.values[here].mean(), abs=1e-12)
        assert one.effect.control == pytest.approx(level[here].mean(), abs=1e-12)
        assert one.difference.value == pytest.approx((whole.values - level)[here].mean(), abs=1e-12)
        assert one.elsewhere.value == pytest.approx(whole.values[~here].mean(), abs=1e-12)
        assert (one.effect.n, one.elsewhere.n) == (here.sum(), (~here).sum())
        document = DOCUMENTS[whole.window]
        drawn = []
        for _ in range(500):
            picked = (
                np.bincount(rng.integers(0, DOCUMENT_COUNT, DOCUMENT_COUNT), minlength=DOCUMENT_COUNT)[document] * here
            )
            drawn.append(((whole.values - level) * picked).sum() / picked.sum())
        # 30 documents: the studentised interval is up to twice as wide as 1.96 deviations of the percentile draws
        width = (one.difference.high - one.difference.low) / (2 * 1.96 * np.std(drawn))
        assert 0.85 < width < 2


def test_the_same_seed_gives_the_same_rows(model, plain, means):
    def rows(seed):
        chosen = {"a": [1], "b": [2]}
        found = ablate(model, neurons(48, site=SITE), chosen, plain, DOCUMENTS, means=means, draws=2, seed=seed)
        return [one.row() for one in found]

    assert rows(0) == rows(0)
    assert rows(0)[0]["control"] != rows(1)[0]["control"]


def test_the_effect_on_a_model_without_a_head():
    model = tiny.model_of("bert")
    site = "blocks.0.mlp_act"
    plain = plain_run(model, batches_of(windows()))
    (found,) = ablate(
        model, neurons(64, site=site), {"all": list(range(60))}, plain, DOCUMENTS, means=torch.zeros(64), draws=1
    )
    assert found.unit == "1 - cosine of the mean last hidden state"
    assert found.effect.n == WINDOWS
    assert found.effect.value > 1e-4


def test_without_draws_there_is_no_control_and_without_interest_no_number(model, plain, means):
    nowhere = {"a": np.zeros(PLACES, dtype=bool)}
    (found,) = ablate(model, neurons(48, site=SITE), {"a": [1]}, plain, DOCUMENTS, means=means, draws=0, places=nowhere)
    assert found.effect.control is None
    assert np.isnan(found.effect.value)
    assert found.effect.n == 0
    assert found.elsewhere.n == PLACES


def test_laws():
    laws.controls_leave_the_chosen_units_alone(random_sets)
    laws.means_are_means_of_units(unit_means)


def test_all_units_are_drawn_from_where_too_few_are_left():
    sets = random_sets(4, 3, exclude={0, 1}, count=5, seed=0)
    assert all(len(set(one)) == 3 for one in sets)


def test_the_result_saves_and_loads(tmp_path, model, plain, means):
    (found,) = ablate(model, neurons(48, site=SITE), {"a": [1]}, plain, DOCUMENTS, means=means, draws=1)
    uw.save(found, tmp_path / "ablation")
    assert uw.load(tmp_path / "ablation") == found


ALL = {"a": np.ones(PLACES, dtype=bool)}
FAULTS = {
    "no site": ({"featurizer": neurons(48)}, InputError, "the featurizer must belong to one site: give it site="),
    "two sites": (
        {"featurizer": NeuronFeaturizer(width=48, site=(SITE, "blocks.0.mlp_act"))}, InputError, "to one site",
    ),
    "sizes": ({"chosen": {"a": [1], "b": [1, 2]}}, InputError, r"sets of \[1, 2\] units: all must have the same"),
    "empty set": ({"chosen": {"a": []}}, InputError, r"sets of \[0\] units: all must have the same number, at least 1"),
    "no sets": ({"chosen": {}}, InputError, r"sets of \[\] units"),
    "twice": ({"chosen": {"a": [1, 1]}}, InputError, r"units are \[1, 1\]: numbers from 0 to 47 are needed, each once"),
    "outside": ({"chosen": {"a": [48]}}, InputError, r"the units of 'a' are \[48\]: numbers from 0 to 47 are needed"),
    "negative": ({"chosen": {"a": [-1]}}, InputError, r"the units of 'a' are \[-1\]: numbers from 0 to 47"),
    "width": ({"featurizer": neurons(32, site=SITE), "means": torch.zeros(32)}, InputError, "width 32"),
    "documents": ({"groups": np.arange(3)}, InputError, r"groups has shape \(3,\) but there are 60 windows: one docu"),
    "means": ({"means": torch.zeros(3)}, InputError, r"means has shape \(3,\) but the featurizer has 48 units: one m"),
    "place": ({"places": {"other": ALL["a"]}}, InputError, r"places has no entry for \['a'\]: name the places"),
    "places": ({"places": {"a": ALL["a"][:4]}}, InputError, r"places of 'a' has shape \(4,\) but there are 660 effe"),
    "model": (
        {"featurizer": NeuronFeaturizer(width=48, site=SITE, provenance=Provenance(model="f" * 64))},
        FingerprintError,
        "fitted on another model",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "kind", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_named(model, plain, means, changes, kind, message):
    given = {"featurizer": neurons(48, site=SITE), "chosen": {"a": [1]}, "groups": DOCUMENTS, "means": means} | changes
    with pytest.raises(kind, match=message):
        ablate(model, given.pop("featurizer"), given.pop("chosen"), plain, given.pop("groups"), **given)


def test_windows_of_one_token_show_nothing(model, means):
    plain = plain_run(model, batches_of([[4], [9]]))
    with pytest.raises(DataError, match="no token of the windows is predicted from another: windows of two tokens"):
        ablate(model, neurons(48, site=SITE), {"a": [1]}, plain, np.arange(2), means=means)


def test_the_mean_of_no_rows_is_refused():
    for chunks in ([], [torch.zeros(0, 4)]):
        with pytest.raises(DataError, match="the mean of no rows: there are no training rows"):
            unit_means(neurons(4), chunks)
