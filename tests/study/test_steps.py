"""Studies of awkward inputs end with what could be done and say what could not."""

import io
import json
import math

import pytest

import unweave as uw
from listeners import Recorder
from study_inputs import SMALL, save_model, texts, write_document_labels, write_text_file
from unweave.errors import InputError, StoreError, UnknownName
from unweave.report.record import Figure
from unweave.study import StudyConfig, flow, run_study
from unweave.study.config import AblationConfig
from unweave.study.steps.bases import BASES
from unweave.study.steps.evidence import _right_places
from unweave.study.steps.order import STEPS
from unweave.study.texts import StudyText
from unweave.study.work import Work


def by_step(result):
    return {record.step: record for record in result.records}


@pytest.fixture
def only(monkeypatch):
    """Leaves of a study the steps up to the probes and those of these names: the others cost most of it."""

    def limited(*names):
        kept = tuple(step for step in STEPS if step.name in ("collect", "labels", "probe", *names))
        monkeypatch.setattr(flow, "STEPS", kept)

    return limited


def study(config, folder, **changes):
    return run_study(config.model_copy(update=changes), folder)


def test_the_steps_of_the_whole_study(of_token_strings):
    """Eleven features probed at two sites, three bases compared at the middle one, and their units removed."""
    found = by_step(of_token_strings[1])
    assert found["collect"].results["documents"] == 24
    kinds = {name: [figure.kind for figure in record.figures] for name, record in found.items()}
    assert kinds == {
        "collect": [], "labels": ["bars"], "probe": ["heatmap", "curves"], "controls": ["forest"], "cards": [],
        "bases": ["curves"], "partition": ["bars", "heatmap"], "ablate": ["forest"], "interaction": ["curves", "graph"],
        "directions": ["forest"],
        "evidence": [],
        "superposition": [],
    }  # fmt: skip
    assert found["bases"].results["site"] == found["ablate"].results["site"] == "blocks.1.mlp_act"
    curves = {(one["basis"], one["k"]) for one in found["bases"].results["mean_f1"]}
    assert curves == {(basis, k) for basis in BASES for k in (1, 2)}
    ablations = found["ablate"].results["ablations"]
    assert {one["basis"] for one in ablations} == set(BASES)
    assert len({one["name"] for one in ablations}) == 4
    for one in ablations:
        assert len(one["units"]) == found["ablate"].results["k"] == 2
        assert math.isnan(one["effect_low"]) or one["effect_low"] <= one["effect"] <= one["effect_high"]


def test_its_summary_is_the_contract_of_the_command(of_token_strings):
    folder, result = of_token_strings
    summary = result.summary()
    store = uw.open_store(folder / "models/llama/store")
    assert summary["run"] == str(folder)
    assert summary["report"] == str(folder / "report.html")
    assert summary["seconds"] > 0
    assert summary["rows"] == len(store) > 500
    assert summary["sites"] == ["blocks.0.mlp_act", "blocks.1.mlp_act"]
    assert json.dumps(json.loads(json.dumps(summary))) == json.dumps(summary)
    probed = {probe["feature"] for probe in summary["probes"]}
    assert len(summary["probes"]) == len(probed) * 2 * 2
    for probe in summary["probes"]:
        assert set(probe) >= {"model", "feature", "site", "k", "f1", "control_f1"}
        assert probe["model"] == "llama"
        assert probe["site"] in summary["sites"]
        assert 0 <= probe["f1"] <= 1
    assert not probed & set(summary["skipped"]["llama"])
    assert len(probed) + len(summary["skipped"]["llama"]) == 11


def test_the_neuron_basis_gives_what_the_probe_step_gave(of_token_strings):
    found = by_step(of_token_strings[1])
    f1 = [row["f1"] for row in found["probe"].results["probes"] if row["site"] == "blocks.1.mlp_act" and row["k"] == 1]
    mean = next(row for row in found["bases"].results["mean_f1"] if (row["basis"], row["k"]) == ("neurons", 1))
    assert mean["f1"] == pytest.approx(sum(f1) / len(f1), abs=1e-12)


def test_held_out_documents_are_in_no_fit(of_token_strings):
    """The moments behind PCA, the unit means and the probes are of training documents; effects are of the others."""
    folder, result = of_token_strings
    table = uw.load(folder / "models/llama/probe/probes")
    store = uw.open_store(folder / "models/llama/store")
    training = [number for number in range(24) if number not in table.held_out]
    rows = [row for row, document in enumerate(store.rows["document"]) if document in training]
    pca = uw.load(folder / "models/llama/bases/featurizer-pca")
    assert pca.provenance.rows == len(rows)
    for one in by_step(result)["ablate"].results["ablations"]:
        assert one["n_groups"] <= len(table.held_out)


@pytest.mark.parametrize("documents", [1, 4])
def test_too_few_documents_give_no_probe_and_no_crash(tmp_path, config, documents):
    text = write_text_file(tmp_path / "few.txt", documents=documents)
    result = study(config, tmp_path / "run", text=str(text), labels=None)
    summary = result.summary()
    assert result.run.status == "complete"
    assert summary["probes"] == []
    assert summary["rows"] > 20
    found = by_step(result)
    assert found["probe"].warnings[0].startswith("No probe: no feature can be probed: contains_digit: ")
    assert found["bases"].warnings == ("Not done: it needs what the step 'probe' could not give.",)
    assert found["ablate"].warnings == found["bases"].warnings
    assert found["labels"].figures[0].kind == "bars"
    page = result.report.read_text(encoding="utf-8")
    assert "No probe: no feature can be probed" in page


def test_labels_of_whole_documents_are_probed_but_not_ablated(tmp_path, config, inputs):
    """A document is not a token: its mean is probed, and there are no tokens at which to measure an effect."""
    result = study(config, tmp_path / "run", text=str(write_text_file(tmp_path / "t.txt", documents=80)),
                   labels=str(write_document_labels(tmp_path / "d.jsonl", documents=80)))  # fmt: skip
    found = by_step(result)
    assert {probe["feature"] for probe in result.summary()["probes"]} == {"long start"}
    assert found["bases"].figures
    assert found["ablate"].warnings == (
        "Not done: no feature of tokens has a probe with k = 2 at blocks.1.mlp_act, so there are no units to remove.",
    )


def test_a_model_without_a_head_is_studied_by_its_last_state(tmp_path, config, inputs):
    result = study(config, tmp_path / "run", models=(str(inputs / "bert"),))
    ablations = by_step(result)["ablate"].results["ablations"]
    assert {one["unit"] for one in ablations} == {"1 - cosine of the mean last hidden state"}
    assert "effects are shown on its last hidden state" in result.run.models[0].description


def test_more_units_than_a_site_has_give_no_probe_there(tmp_path, config, only):
    """The residual stream has 32 units and the neurons 48: k = 40 is possible at one of two sites."""
    both = ("blocks.0.resid_post", "blocks.0.mlp_act")
    found = by_step(study(config, tmp_path / "one", ks=(40,), sites=both))
    assert {row["site"] for row in found["probe"].results["probes"]} == {"blocks.0.mlp_act"}
    only("bases")
    found = by_step(study(config, tmp_path / "middle", ks=(40,), sites=both[::-1]))
    assert found["probe"].summary == ()
    assert found["bases"].warnings == ("Not done: blocks.0.resid_post has fewer than 40 units that vary.",)
    found = by_step(study(config, tmp_path / "none", ks=(64,)))
    assert found["probe"].warnings == ("No probe: no site has 64 units that vary.",)


def test_more_units_than_ablated_units_remove_the_smallest_probed_number(tmp_path, config, only):
    only("bases", "ablate")
    found = by_step(study(config, tmp_path / "run", ks=(4, 8), ablation=AblationConfig(units=2)))
    assert found["ablate"].results["k"] == 4


def test_without_shuffles_nothing_is_said_about_them(tmp_path, config, only):
    only("controls")
    found = by_step(study(config, tmp_path / "run", shuffles=0))
    assert "shuffled" not in found["probe"].summary[0]
    assert {row["control_f1"] for row in found["probe"].results["probes"]} == {None}


FAULTS = {
    "text": ({"text": "nowhere.txt"}, InputError, r"no text file at nowhere\.txt: give one that exists"),
    "labels": ({"labels": "nowhere.jsonl"}, InputError, r"no labels file at nowhere\.jsonl: give one that exists"),
    "labels folder": ({"labels": "."}, InputError, r"no labels file at \.: give one"),
    "model": ({"models": ("./nowhere",)}, InputError, r"no model directory at \./nowhere: give a directory in Hugging"),
    "site": (
        {"sites": ("blocks.0.mlp_atc",)},
        UnknownName,
        r"unknown site 'blocks\.0\.mlp_atc'; nearest: 'block",
    ),
    "pattern": ({"sites": ("block.*.mlp_act",)}, UnknownName, r"unknown site 'block\.\*\.mlp_act'"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_named_before_anything_is_written(tmp_path, config, changes, kind, message):
    with pytest.raises(kind, match=message):
        study(config, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_texts_and_labels_that_cannot_be_used_name_the_file(tmp_path, config):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(InputError, match=f"{empty} has no text: at least one document is needed"):
        study(config, tmp_path / "run", text=str(empty))
    latin = tmp_path / "latin.txt"
    latin.write_bytes("né".encode("latin-1"))
    with pytest.raises(InputError, match=f"{latin} is not UTF-8 at byte 1: convert it"):
        study(config, tmp_path / "run", text=str(latin))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"feature": "a", "label": 1, "document": 0}\n{"feature"')
    with pytest.raises(InputError, match=f"{broken} line 2 is not JSON"):
        study(config, tmp_path / "labelled", labels=str(broken))


def test_a_model_without_a_tokenizer_is_refused(tmp_path, config):
    bare = save_model(tmp_path / "bare", tokenizer=False)
    with pytest.raises(InputError, match=r"cannot be studied on text: a transformer of a known family .* is needed"):
        study(config, tmp_path / "run", models=(str(bare),))


def test_the_labels_step_tells_what_is_left_out_and_hidden(of_token_strings):
    record = by_step(of_token_strings[1])["labels"]
    assert set(record.results["skipped"]) == {row[0] for row in record.tables[0].rows if row[4] not in ("probed",)}
    for name, reason in record.results["skipped"].items():
        assert f"{name}: {reason}" in record.warnings[0]
    figure = record.figures[0]
    assert isinstance(figure, Figure)
    assert dict(zip(figure.data["label"], figure.data["series"], strict=True))["is_not_ascii"] == "probed"


def test_the_default_leaves_out_a_model_that_is_not_installed_and_says_so(monkeypatch, config):
    """Without `models` in the configuration a missing package is no error; asked for by name it is one."""
    from unweave.models import loading

    whole = loading.packaged_folder

    def missing(name):
        raise InputError(f"{name} is not installed: pip install it")

    monkeypatch.setattr(loading, "packaged_folder", missing)
    text = config.text
    listener = Recorder()
    planned, left_out = flow.plan_study(StudyConfig(text=text, context=16), listener)
    assert [one.model.name for one in planned] == ["zoo:docs"]
    assert left_out == {"minilm": "minilm is not installed: pip install it"}
    assert listener.notes[0] == "minilm is left out: minilm is not installed: pip install it"
    for models in (("minilm",), ("minilm", "zoo:docs")):
        with pytest.raises(InputError, match="minilm is not installed: pip install it"):
            flow.plan_study(StudyConfig(models=models, text=text))

    def damaged(name):
        raise StoreError(f"{name} is not what it should be")

    monkeypatch.setattr(loading, "packaged_folder", damaged)
    with pytest.raises(StoreError, match="not what it should be"):
        flow.plan_study(StudyConfig(text=text))
    assert whole is not missing


def test_the_plan_counts_what_is_then_collected(config, of_token_strings):
    (planned,), left_out = flow.plan_study(config)
    collected = by_step(of_token_strings[1])["collect"].results
    assert left_out == {}
    assert planned.plan.rows == collected["rows"]
    assert list(planned.plan.sites) == collected["sites"]
    assert planned.seconds > planned.plan.seconds
    assert planned.peak_bytes > planned.plan.peak_bytes
    assert planned.disk_bytes > planned.plan.activation_bytes


def test_every_step_says_what_it_depends_on():
    """A key of the configuration that no step uses would never make anything run again."""
    used = {name for step in STEPS for name in step.uses}
    # the models and the text are in the first key of every model, by their fingerprints
    assert used | {"models", "text"} == set(StudyConfig.model_fields)
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_a_text_from_standard_input_serves_every_model(monkeypatch, config, inputs):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n\n".join(texts()).encode())))
    both = config.model_copy(update={"text": "-", "models": (str(inputs / "llama"), str(inputs / "bert"))})
    planned, _ = flow.plan_study(both)
    assert [one.plan.documents for one in planned] == [24, 24]


def test_an_artifact_of_a_step_that_gave_none_is_not_possible(tmp_path, config):
    from unweave.study.work import NotPossible

    (planned,), _ = flow.plan_study(config)
    work = Work(config=config, model=planned.model, text=planned.text, folder=tmp_path, sites=(), progress=Recorder())
    with pytest.raises(NotPossible, match="it needs what the step 'probe' could not give"):
        work.artifact("probe", "probes")


def test_small_settings_are_valid():
    assert StudyConfig(**SMALL).ks == (1, 2)


def test_a_search_chooses_the_units_where_it_is_asked_for(tmp_path, config, only):
    only()
    found = by_step(study(config, tmp_path / "run", selector="auto", ks=(2,), sites=("blocks.1.mlp_act",)))
    assert "chosen by auto" in found["probe"].figures[0].caption
    (probe,) = uw.load(tmp_path / "run/models/llama/probe/probes").sweeps["number", "blocks.1.mlp_act"].probes
    assert probe.selector in ("std_mean_diff", "least_squares", "telescope", "swap")


def test_an_input_that_the_text_repeats_is_one_place(docs, config, tmp_path):
    """Two documents with one sentence would else be on both sides of the split of the evidence card."""
    text = StudyText(texts=[], description="", sha256="")
    work = Work(config=config, model=docs, text=text, folder=tmp_path, sites=(), progress=Recorder())
    once = _right_places(work, ["Changed in version 3.4: the first argument is used."])
    assert once
    twice = _right_places(work, ["Changed in version 3.4: the first argument is used."] * 2)
    assert [one.prefix for one in twice] == [one.prefix for one in once]
    assert {one.document for one in twice} == {0}
