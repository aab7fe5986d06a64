"""A search of the haystack: what it leaves, what it uses again, what it says over models and against random weights."""

import json
import re
import shutil

import numpy as np
import pytest

from listeners import Recorder
from unweave.artifact import load
from unweave.errors import InputError, Interrupted
from unweave.report.record import read_record, read_run
from unweave.study.haystack.config import HaystackConfig
from unweave.study.haystack.planning import plan_haystack
from unweave.study.haystack.run import COMPARISON, run_haystack

SMALL = {"ks": (1, 2), "shuffles": 1, "bootstrap": 200, "sites": ("blocks.*.resid_post",)}


@pytest.fixture(scope="module")
def haystack(tmp_path_factory, inputs):
    """Two tiny models; languages of other letters, and text for token strings and compound words that is too short."""
    rng = np.random.default_rng(0)
    rows = [{"text": "".join(rng.choice(list(letters), 20)), "label": label}
            for label, letters in (("en", "abcd "), ("fr", "vwxyz"), ("Klingon", "q")) for _ in range(30)]  # fmt: skip
    place = tmp_path_factory.mktemp("haystack") / "x.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    text = place.parent / "text.txt"
    text.write_text("one\n\ntwo\n")
    given = {"languages": str(place), "text": str(text)}
    return HaystackConfig(models=(str(inputs / "llama"), str(inputs / "bert")), inputs=given, **SMALL)


@pytest.fixture(scope="module")
def done(haystack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched") / "run"
    return folder, run_haystack(haystack, folder, command="unweave probe haystack")


def test_every_collection_of_every_model_has_a_record(done):
    folder, result = done
    run = read_run(folder)
    assert run.status == "complete"
    collections = ("natural_lang_id", "text_features", "compound_words")
    assert {entry.name: entry.steps for entry in run.models} == {
        "llama": collections, "bert": collections, COMPARISON: ("dynamics",),
    }  # fmt: skip
    for entry in run.models:
        for step in entry.steps:
            assert read_record(folder / entry.folder / step).step == step
    probes = load(folder / "models" / "llama" / "natural_lang_id" / "probes")
    assert probes.features() == ["en", "fr"]
    assert result.report.read_text(encoding="utf-8").count("<h3>") >= 3


def test_the_summary_is_plain_values(done):
    summary = done[1].summary()
    json.dumps(summary)
    first = summary["collections"][0]
    assert (first["model"], first["collection"]) == ("llama", "natural_lang_id")
    assert {one["feature"] for one in first["features"]} == {"en", "fr"}
    for one in first["features"]:
        assert one["f1_low"] <= one["f1"] <= one["f1_high"]
        assert 0 <= one["random_weights_f1"] <= 1
        assert len(one["support"]) == one["k"] == 1
    assert first["mean_f1"]["low"] <= first["mean_f1"]["value"]
    wanted = np.mean([one["f1"] for one in first["features"]])
    assert first["mean_f1"]["value"] == pytest.approx(wanted, abs=1e-9)
    gap = wanted - np.mean([one["random_weights_f1"] for one in first["features"]])
    assert first["minus_random_weights"]["value"] == pytest.approx(gap, abs=1e-9)
    assert first["drops"] == {"documents labelled 'Klingon', which is no class of natural_lang_id": 30}
    assert set(first["skipped"]) == {"es", "nl", "it", "el", "de", "pt", "sv"}
    assert "No feature of text_features is large enough." in summary["warnings"]
    assert any(re.match(r"No depth contrast: the sites of 2 layers", one) for one in summary["warnings"])


def test_features_are_compared_over_models(done):
    compared = done[1].summary()["comparison"]
    sizes = [one["parameters"] for one in compared["models"]]
    assert sizes == sorted(sizes)
    assert {(one["collection"], one["feature"]) for one in compared["features"]} == {
        ("natural_lang_id", "en"), ("natural_lang_id", "fr"),
    }  # fmt: skip
    for one in compared["features"]:
        small, large = (one["f1"][entry["name"]] for entry in compared["models"])
        assert one["change"] == pytest.approx(large - small, abs=1e-12)
        assert one["kind"] in ("emerges", "splits", "stays", "unclear")
    assert len(compared["mean_f1"]) == 2


def test_stores_of_random_weights_are_taken_away(done):
    for model in ("llama", "bert"):
        there = {one.name for one in (done[0] / "models" / model).iterdir()}
        assert "stores" in there
        assert "random-stores" not in there


def test_a_second_run_uses_everything_again(done, haystack, tmp_path):
    folder = shutil.copytree(done[0], tmp_path / "run")
    listener = Recorder()
    again = run_haystack(haystack, folder, progress=listener)
    used = [note for note in listener.notes if note.endswith("used again")]
    assert len(used) == 6
    assert again.summary()["comparison"] == done[1].summary()["comparison"]
    changed = run_haystack(haystack.model_copy(update={"ks": (1, 3)}), folder)
    assert {row["k"] for row in changed.summary()["collections"][0]["probes"]} == {1, 3}


def test_the_same_search_gives_the_same_numbers(done, haystack, tmp_path):
    again = run_haystack(haystack, tmp_path / "run")
    assert json.dumps(again.summary()["collections"]) == json.dumps(done[1].summary()["collections"])


def test_without_random_weights(haystack, tmp_path):
    one = haystack.model_copy(update={"random_weights": False, "models": haystack.models[:1]})
    summary = run_haystack(one, tmp_path / "run").summary()
    assert summary["comparison"] is None
    assert "minus_random_weights" not in summary["collections"][0]
    assert {feature["random_weights_f1"] for feature in summary["collections"][0]["features"]} == {None}


def test_the_plan_says_what_it_would_cost(haystack):
    plans = plan_haystack(haystack)
    assert [(plan["model"], plan["collection"], plan["features"]) for plan in plans[:3]] == [
        ("llama", "natural_lang_id", 2), ("llama", "text_features", 0), ("llama", "compound_words", 0),
    ]  # fmt: skip
    assert plans[0]["rows"] == 60
    assert plans[0]["bytes"] == 60 * 2 * 32 * 2  # rows, sites, width, float16
    assert "rows" not in plans[1]


def test_an_interruption_keeps_what_is_finished(haystack, tmp_path, monkeypatch):
    from unweave.study.haystack import run as module

    real = module._probed

    def stop_at_the_second_model(search, model, *others):
        if model.name == "bert":
            raise KeyboardInterrupt
        return real(search, model, *others)

    monkeypatch.setattr(module, "_probed", stop_at_the_second_model)
    with pytest.raises(Interrupted, match="interrupted: what is finished is kept in"):
        run_haystack(haystack, tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.status == "interrupted"
    assert [(entry.name, len(entry.steps)) for entry in run.models] == [("llama", 3)]


def test_faults_come_before_any_work(haystack, tmp_path):
    with pytest.raises(InputError, match="no input allows any collection"):
        run_haystack(HaystackConfig(), tmp_path / "a")
    with pytest.raises(InputError, match="the collection latex has no input"):
        run_haystack(haystack.model_copy(update={"collections": ("latex",)}), tmp_path / "a")
    with pytest.raises(InputError, match="no model directory at"):
        run_haystack(haystack.model_copy(update={"models": ("./nowhere",)}), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run of a study"):
        run_haystack(haystack, tmp_path / "b")
