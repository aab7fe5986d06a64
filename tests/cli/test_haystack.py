"""`unweave probe haystack`: one JSON document, a plan, faults in one line."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = [{"text": "".join(rng.choice(list(letters), 20)), "label": label}
            for label, letters in (("en", "abcd "), ("fr", "vwxyz")) for _ in range(30)]  # fmt: skip
    place = tmp_path_factory.mktemp("languages") / "x.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    return place


def arguments(inputs, languages):
    return ("probe", "haystack", "--model", inputs / "llama", "--languages", languages, "--k", "1,2", "--shuffles", "1",
            "--site", "blocks.*.resid_post", "--no-random-weights")  # fmt: skip


def test_a_search_prints_one_document(unweave, inputs, languages, tmp_path):
    done = unweave(*arguments(inputs, languages), "--out", tmp_path / "run", "--json", "-q", "--seed", "3")
    assert done.code == 0
    assert done.err == ""
    (found,) = done.document["collections"]
    assert {one["feature"] for one in found["features"]} == {"en", "fr"}
    assert (tmp_path / "run" / "report.html").exists()
    assert "NaN" not in done.out
    plain = unweave(*arguments(inputs, languages), "--out", tmp_path / "run", "--seed", "3")
    assert plain.out.startswith("llama: natural_lang_id: One neuron reads 2 features with a mean F1 of ")
    assert plain.out.strip().split("\n")[-1].startswith(f"report: {tmp_path / 'run' / 'report.html'}  (")
    assert "llama: natural_lang_id: used again" in plain.err


def test_a_dry_run_makes_nothing(unweave, inputs, languages, tmp_path):
    done = unweave(*arguments(inputs, languages), "--out", tmp_path / "run", "--dry-run")
    assert done.out.startswith("llama: natural_lang_id: 2 features, 7 left out; 60 rows, 0.0 MB, about ")
    as_json = unweave(*arguments(inputs, languages), "--dry-run", "--json").document
    assert as_json["plans"][0]["rows"] == 60
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--collections", "ewt_pos"), "unknown collection 'ewt_pos'; nearest: 'ewt_upos'"),
        (("--collections", "latex"), "the collection latex has no input"),
        (("--k", "1,x"), "--k is '1,x': numbers with commas between them are needed"),
        (("--rows", "3"), "rows"),
        (("--conllu", "nowhere.conllu"), "no CoNLL-U file at nowhere.conllu"),
    ],
)
def test_faults_are_one_line_and_exit_with_2(unweave, inputs, languages, tmp_path, more, message):
    done = unweave(*arguments(inputs, languages), "--out", tmp_path / "run", "-q", *more)
    assert done.code == 2
    assert message in done.message
    assert done.err.count("\n") == 1


def test_without_any_input_it_says_what_is_missing(unweave):
    done = unweave("probe", "haystack")
    assert done.code == 2
    assert "no input allows any collection" in done.message


def test_help_shows_an_example(unweave):
    done = unweave("probe", "haystack", "--help")
    assert done.code == 0
    assert "unweave probe haystack --model zoo:docs --conllu" in done.out
