"""The authors' result files load, and agree with what the paper and its files say (specs/probing.md 11.1, 11.2)."""

import pytest

from unweave.errors import InputError, StoreError
from unweave.probing.published import MODELS, group_of, load_published

ROWS = {
    "all_neurons_of_interest": (210, 372, 718, 516, 730, 909, 683),
    "top_mono_neurons": (100,) * 7,
    "biasxnorm_p20_50_80": (3,) * 7,
}
OTHERS = {
    "pythia-70m": {"wikidata": 34, "monosemantic_language_neurons": 24, "pythia70m_prime_factor_neurons": 100},
    "pythia-160m": {"top_compound_words": 21},
    "pythia-1b": {"wikidata": 116, "monosemantic_code_neurons": 13, "compound_superposition": 105},
    "pythia-2.8b": {"wikidata": 30, "top_compound_words": 21},
    "pythia-6.9b": {"wikidata": 302, "monosemantic_distribution_neurons": 13, "top_fact_neurons": 18},
}
MEAN_F1 = {
    "compound words": (0.904, 0.939, 0.947, 0.948, 0.942, 0.950, 0.950),
    "morphology": (0.798, 0.832, 0.859, 0.857, 0.858, 0.876, 0.863),
    "source": (0.794, 0.803, 0.804, 0.853, 0.845, 0.874, 0.854),
    "part of speech": (0.726, 0.727, 0.717, 0.755, 0.740, 0.747, 0.763),
    "latex": (0.748, 0.756, 0.760, 0.787, 0.771, 0.761, 0.775),
    "code language": (0.696, 0.743, 0.789, 0.854, 0.837, 0.863, 0.826),
    "text features": (0.747, 0.723, 0.753, 0.742, 0.770, 0.778, 0.836),
    "all": (0.788, 0.806, 0.820, 0.838, 0.834, 0.845, 0.848),
}
HIGH = (23, 27, 34, 39, 37, 43, 45)
BIAS_TIMES_NORM = {"pythia-70m": (-0.634, -0.357, -0.167), "pythia-6.9b": (-1.659, -1.397, -1.101)}
PRINTED = 5e-4
"""Half a unit of the third digit that is printed."""


@pytest.fixture(scope="module")
def tables(data):
    folder = data / "probing" / "interpretable_neurons"
    return {model: load_published(folder / model) for model in MODELS}


def test_every_file_has_its_rows(tables):
    for number, model in enumerate(MODELS):
        wanted = {name: counts[number] for name, counts in ROWS.items()} | OTHERS.get(model, {})
        assert {name: len(table.rows) for name, table in tables[model].items()} == wanted


def test_mean_f1_by_group_is_the_published_one(tables):
    for number, model in enumerate(MODELS):
        found = tables[model]["top_mono_neurons"].mean_f1()
        assert set(found) == set(MEAN_F1)
        for group, values in MEAN_F1.items():
            assert found[group] == pytest.approx(values[number], abs=PRINTED), (model, group)


def test_the_number_of_features_that_one_neuron_reads_well(tables):
    counts = [sum(row["test_f1_score"] >= 0.9 for row in tables[model]["top_mono_neurons"].rows) for model in MODELS]
    assert tuple(counts) == HIGH


def test_f1_is_that_of_precision_and_recall(tables):
    rows = [row for model in tables.values() for table in model.values() for row in table.rows if "test_recall" in row]
    assert len(rows) == 4948
    for row in rows:
        precision, recall = row["test_precision"], row["test_recall"]
        assert row["test_f1_score"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-9)


@pytest.mark.parametrize("model", BIAS_TIMES_NORM)
def test_bias_times_norm_of_the_first_layer(tables, model):
    rows = sorted(tables[model]["biasxnorm_p20_50_80"].rows, key=lambda row: row["percentile"])
    assert [row["percentile"] for row in rows] == [20, 50, 80]
    assert [row["layer"] for row in rows] == [1, 1, 1]
    assert [row["biasxnorm"] for row in rows] == pytest.approx(BIAS_TIMES_NORM[model], abs=PRINTED)


def test_least_mcc_of_the_neurons_of_interest(tables):
    least = {"natural language": 1.0, "part of speech": 0.95, "morphology": 0.95, "compound words": 0.95,
             "source": 0.95, "code language": 0.90, "text features": 0.85, "latex": 0.85,
             "dependencies": 0.95}  # fmt: skip
    counts = []
    for model in MODELS:
        rows = tables[model]["all_neurons_of_interest"].rows
        counts.append(sum(group_of(row) == "natural language" for row in rows))
        assert all(row["test_mcc"] >= least[group_of(row)] for row in rows)
    assert counts == [134, 215, 529, 365, 555, 716, 500]


def test_numbers_are_numbers(tables):
    row = tables["pythia-6.9b"]["top_fact_neurons"].rows[0]
    assert {name: type(row[name]) for name in ("layer", "neuron", "k", "coef", "feature", "agg")} == {
        "layer": int, "neuron": int, "k": int, "coef": float, "feature": str, "agg": str,
    }  # fmt: skip
    assert group_of(row) == "facts"


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match="no published tables at"):
        load_published(tmp_path)
    for text, message in (
        ("a,b\n", "has no rows"),
        ("layer,coef\n1\n", "row 1 has 1 fields, the header 2"),
        ("layer,coef\nx,1.0\n", "row 1 has no number where one belongs"),
    ):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(StoreError, match=message):
            load_published(tmp_path / "x.csv")
