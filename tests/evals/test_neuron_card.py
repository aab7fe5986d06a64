"""Neuron cards, contexts, and ablation by class: every number is one that a reader can compute by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

import tiny
import unweave as uw
from unweave.activations.labels import LabelledFeature
from unweave.errors import DataError, InputError, UnknownName
from unweave.evals import ablate_by_class, contexts, effects_of, neuron_card
from unweave.evals.causing.ablation import unit_means
from unweave.evals.causing.class_ablation import matched_sets
from unweave.evals.causing.effects import plain_run
from unweave.features.neurons import NeuronFeaturizer

SITE, UNIT = "blocks.0.mlp_act", 5
WORDS = ("alpha", "Beta", "x1", "42", "gamma", "DELTA", "the", "of", "é")


@pytest.fixture(scope="module")
def model():
    return tiny.text_model("llama")


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=12)) for _ in range(30)]
    out = tmp_path_factory.mktemp("cards") / "store"
    return uw.collect(model, texts, [SITE, "blocks.1.resid_post"], out, dtype="float32", context=24)


@pytest.fixture(scope="module")
def values(store):
    return store[SITE][:].double().numpy()


@pytest.fixture(scope="module")
def label(store, values):
    """True where the unit is among its largest tenth, with one label in ten turned over."""
    rng = np.random.default_rng(1)
    high = values[:, UNIT] > np.quantile(values[:, UNIT], 0.9)
    return LabelledFeature(
        name="high", level="token", index=np.arange(len(store)), values=high ^ (rng.random(len(store)) < 0.02)
    )


@pytest.fixture(scope="module")
def card(model, store, label):
    return neuron_card(model, store, SITE, UNIT, feature=label, held_out=range(20, 30))


def test_the_score_is_of_the_one_unit_on_held_out_documents(card, store, values, label):
    probe = card.probe
    predicted = (values[:, UNIT] - probe.mean[0]) / probe.sd[0] * probe.coef[0] + probe.bias > 0
    test = store.rows["document"] >= 20
    assert probe.f1.value == pytest.approx(f1_score(label.values[test], predicted[test]), abs=1e-12)
    assert probe.f1.n == test.sum()
    assert probe.f1.low > 2 * 0.12 / 1.12  # calling every row positive, at 12 % of them


def test_disagreements_are_held_out_and_are_what_they_are_called(card, store, values, label):
    probe = card.probe
    for kind, truth in (("false positive", False), ("false negative", True)):
        assert card.of(kind)
        for one in card.of(kind):
            assert one.document >= 20
            assert one.label is truth
            score = (one.values[one.focus] - probe.mean[0]) / probe.sd[0] * probe.coef[0] + probe.bias
            assert (score > 0) is not truth
    surest = [one.values[one.focus] for one in card.of("false positive")]
    assert surest == sorted(surest, reverse=True)


def test_the_top_contexts_are_the_largest_of_their_windows(card, store, values):
    sequence = store.rows["sequence"]
    best = sorted((values[sequence == number, UNIT].max() for number in np.unique(sequence)), reverse=True)[:10]
    assert [one.values[one.focus] for one in card.of("top")] == pytest.approx(best)
    assert all(value > 0 for one in card.of("active") for value in [self_score(card, one)])
    assert all(value <= 0 for one in card.of("inactive") for value in [self_score(card, one)])


def self_score(card, one):
    probe = card.probe
    return (one.values[one.focus] - probe.mean[0]) / probe.sd[0] * probe.coef[0] + probe.bias


def test_correlations_and_weights_are_of_the_whole_layer(card, values, model):
    table = np.corrcoef(values.T)[UNIT]
    order = [unit for unit in np.argsort(-np.abs(table)) if unit != UNIT][:5]
    assert [unit for unit, _ in card.correlated] == order
    assert [value for _, value in card.correlated] == pytest.approx(table[order].tolist(), abs=1e-9)
    norms = model.module.model.layers[0].mlp.up_proj.weight.detach().norm(dim=1)
    told = next(one for one in card.weights if one.name == "norm of W_up")
    assert told.value == pytest.approx(float(norms[UNIT]))
    assert told.percentile == pytest.approx(100 * float((norms < norms[UNIT]).float().mean()))
    assert len(card.raises) == len(card.lowers) == 10
    assert card.raises[0][1] >= card.raises[-1][1] > card.lowers[-1][1] >= card.lowers[0][1]


def test_the_histogram_counts_every_labelled_row(card, label):
    counts = dict(card.histogram.counts)
    assert sum(counts["has the feature"]) == label.positives
    assert sum(counts["has it not"]) == len(label.index) - label.positives


def test_a_card_without_a_label_shows_what_there_is(model, store):
    found = neuron_card(model, store, "blocks.1.resid_post", 3, each=2)
    assert (found.probe, found.weights, found.raises, found.table()) == (None, (), (), [])
    assert [kind for kind, _ in found.contexts] == ["top", "active", "inactive"]
    assert dict(found.histogram.counts).keys() == {"all rows"}
    assert len(found.of("top")) == 2


def test_other_features_of_the_unit_are_looked_up(model, store, label):
    groups = store.rows["document"]
    search = uw.probing.search({SITE: store[SITE]}, label.values, groups=groups, shuffles=0)
    renamed = dataclasses.replace(search, best=tuple(dataclasses.replace(one, feature="other") for one in search.best))
    card = neuron_card(model, store, SITE, UNIT, feature=label, held_out=range(20, 30), search=renamed)
    assert [one.feature for one in card.also] == ["other"]


def test_contexts_are_the_words_around_a_row(store, values):
    row = 40
    (found,) = contexts(store, values[:, UNIT], [row], before=3, after=2)
    document, position = int(store.rows["document"][row]), int(store.rows["position"][row])
    text = store.document(document).text
    first = max(0, position - 3)
    assert "".join(found.tokens).replace(" ", "") in text.replace(" ", "")
    assert found.tokens[found.focus].strip() == text[position : position + 1].strip()  # a byte a token
    assert found.focus == position - first
    assert found.values[found.focus] == values[row, UNIT]


def test_inputs_that_do_not_fit_are_named(model, store, label):
    with pytest.raises(UnknownName, match="unknown site"):
        neuron_card(model, store, "blocks.0.mlp_atc", 0)
    with pytest.raises(InputError, match=r"unit is 999: blocks\.0\.mlp_act has units 0\.\.47"):
        neuron_card(model, store, SITE, 999)
    whole = dataclasses.replace(label, level="document", index=np.arange(30), values=np.arange(30) < 9)
    with pytest.raises(InputError, match="'high' is a label of documents: a card shows tokens"):
        neuron_card(model, store, SITE, 0, feature=whole)
    with pytest.raises(DataError, match="'high' has 0 positives of 0 rows in the held-out documents"):
        neuron_card(model, store, SITE, 0, feature=label)


@pytest.fixture(scope="module")
def plain(model, store):
    texts = [document.text for document in store.documents()][:12]
    return plain_run(model, [model.tokenize(texts[:6]), model.tokenize(texts[6:])])


def ablation(model, store, plain, **changes):
    neurons = NeuronFeaturizer(width=48, site=SITE)
    rows = store[SITE][:]
    shape = effects_of(model, plain, None)
    odd = shape.position % 2 == 1
    given = {
        "chosen": [3, 5], "plain": plain, "groups": np.arange(12), "means": unit_means(neurons, [rows]),
        "strength": unit_means(neurons, [rows.abs()]), "classes": {"odd": odd, "even": ~odd}, "draws": 3,
    }  # fmt: skip
    return ablate_by_class(model, neurons, **(given | changes))


def test_classes_are_means_of_one_run(model, store, plain):
    found = ablation(model, store, plain)
    means = store[SITE][:].double().mean(0).float()

    def removed(h):
        out = h.clone()
        out[..., [3, 5]] = means[[3, 5]]
        return out

    by_hand = effects_of(model, plain, {SITE: removed})
    odd = by_hand.position % 2 == 1
    for one, where in zip(found.classes, (odd, ~odd), strict=True):
        assert one.effect.value == pytest.approx(by_hand.values[where].mean(), abs=1e-6)
        assert one.draws == 3
    losses = torch.cat([loss.flatten() for loss in plain.outputs])
    assert len(losses) >= len(by_hand.values)
    rises = np.bincount(by_hand.window, weights=by_hand.values)
    clean = []
    windows = [row for output in plain.outputs for row in output]
    for window in range(12):
        here = by_hand.window == window
        clean.append(float(sum(windows[window][place] for place in by_hand.position[here])))
    assert found.percent.value == pytest.approx(np.mean(100 * rises / np.array(clean)), abs=1e-3)


def test_tokens_with_the_largest_rise_are_the_ones_read_and_predicted(model, store, plain):
    found = ablation(model, store, plain)
    ids = [row for batch in plain.batches for row in batch.ids.tolist()]
    everything = effects_of(model, plain, None)
    for shift, told in ((0, found.as_current), (1, found.as_next)):
        assert told
        for one in told:
            places = sum(
                ids[window][position + shift] == one.token
                for window, position in zip(everything.window, everything.position, strict=True)
            )
            assert one.places == places >= 3
        assert [one.rise for one in told] == sorted((one.rise for one in told), reverse=True)


def test_matched_units_are_as_strong_and_others():
    strength = np.concatenate([np.linspace(0, 1, 60), np.linspace(100, 110, 40)])
    for own in matched_sets(strength, [10, 80], count=50, seed=0):
        assert len(set(own)) == 2
        assert not set(own) & {10, 80}
        assert sum(unit < 60 for unit in own) == 1
    assert len(matched_sets(np.arange(3.0), [0, 1], count=1, seed=0)[0]) == 2


def test_a_model_without_a_loss_has_no_percent(tmp_path):
    bert = tiny.text_model("bert")
    plain = plain_run(bert, [bert.tokenize(["some words", "and more"])])
    neurons = NeuronFeaturizer(width=64, site=SITE)
    found = ablate_by_class(
        bert, neurons, [3], plain, np.arange(2), means=torch.zeros(64), strength=torch.ones(64),
        classes={"all": np.ones(2, dtype=bool)}, draws=2,
    )  # fmt: skip
    assert (found.percent, found.as_current, found.as_next) == (None, (), ())
    assert found.table()[0]["unit"] == "1 - cosine of the mean last hidden state"


def test_ablations_that_do_not_fit_are_named(model, store, plain):
    with pytest.raises(InputError, match="classes is empty"):
        ablation(model, store, plain, classes={})
    with pytest.raises(InputError, match=r"the units are \[99\]: at least one number from 0 to 47"):
        ablation(model, store, plain, chosen=[99])
