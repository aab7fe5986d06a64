"""The study from end to end: what it leaves, what a second run reuses, and what happens when it is stopped."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

import unweave as uw
from listeners import Recorder
from study_inputs import save_model
from unweave.errors import InputError, Interrupted, StoreError
from unweave.report.record import read_record, read_run
from unweave.study import StudyConfig, flow, run_study
from unweave.study.config import AblationConfig
from unweave.study.steps.order import STEPS, Step
from unweave.study.work import Found

NAMES = [step.name for step in STEPS]


def reused(listener):
    """The steps that a run took from an earlier one."""
    titles = {step.title.lower(): step.name for step in flow.STEPS}
    return [titles[note.split(": ")[1]] for note in listener.notes if note.endswith(": used again")]


def again(config, folder, **options):
    """Another run into the same directory: (result, reused steps)."""
    listener = Recorder()
    result = run_study(config, folder, progress=listener, **options)
    return result, reused(listener)


@pytest.fixture
def hollow(monkeypatch):
    """Steps after the collection that leave a record of what they were asked and compute nothing: what runs again is
    decided by keys alone, which these have from the real ones. Gives a function that keeps some steps real.
    """

    def hollowed(*real):
        steps = tuple(
            step if step.name in ("collect", *real) else replace(step, run=lambda _: Found(results={"asked": 1}))
            for step in STEPS
        )
        monkeypatch.setattr(flow, "STEPS", steps)

    hollowed()
    return hollowed


@pytest.fixture
def hollow_run(hollow, config, tmp_path):
    """A finished run of hollow steps."""
    run_study(config, tmp_path / "run")
    return tmp_path / "run"


def plain(values):
    """As text, in which a number that is none equals itself."""
    return json.dumps(values, sort_keys=True)


def contents(folder):
    """Checksums of everything that should be the same after the same work."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "report.html", "timings.json") and ".lock" not in path.name
    }


def test_it_leaves_a_run_with_every_step_and_a_report(finished, config):
    folder, result, listener = finished
    run = read_run(folder)
    assert run.status == "complete"
    assert run.command == "unweave study"
    assert [entry.name for entry in run.models] == ["llama"]
    assert list(run.models[0].steps) == NAMES
    assert StudyConfig(**run.config) == config
    assert [record.step for record in result.records] == NAMES
    for step, record in zip(NAMES, result.records, strict=True):
        assert plain(read_record(folder / "models/llama" / step).model_dump()) == plain(record.model_dump())
    page = result.report.read_text(encoding="utf-8")
    assert result.report == folder / "report.html"
    for record in result.records:
        for sentence in record.summary:
            assert sentence.split(" [")[0] in page
    assert listener.notes[0].startswith("llama: 24 documents, ")
    assert "whole study about" in listener.notes[0]


def test_a_second_run_does_nothing_and_says_the_same(run, config, finished):
    before = contents(run)
    result, used = again(config, run)
    assert used == NAMES
    assert contents(run) == before
    first, second = finished[1].summary(), result.summary()
    for key in ("seconds", "run", "report"):
        first.pop(key), second.pop(key)
    assert plain(first) == plain(second)


def test_two_runs_of_the_same_study_are_equal_to_the_byte(tmp_path, config, finished):
    run_study(config, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(finished[0])


CHANGES = {
    "ablation windows": (
        {"ablation": AblationConfig(windows=3)},
        ["collect", "labels", "probe", "controls", "cards", "bases", "partition", "directions"],
    ),
    "ablation draws": (
        {"ablation": AblationConfig(draws=2)},
        ["collect", "labels", "probe", "controls", "cards", "bases", "partition", "directions"],
    ),
    "ks": ({"ks": (1, 3)}, ["collect", "labels"]),
    "selector": ({"selector": "f_stat"}, ["collect", "labels"]),
    "seed": ({"seed": 5}, ["collect", "labels"]),
    "labels": ({"labels": None, "ablation": AblationConfig(windows=3)}, ["collect"]),
    "dtype": ({"dtype": "float32"}, []),
    "sites": ({"sites": ("blocks.1.mlp_act", "blocks.1.resid_post")}, []),
    "context": ({"context": 32}, []),
}


@pytest.mark.parametrize(("change", "kept"), CHANGES.values(), ids=CHANGES)
def test_a_changed_key_redoes_what_depends_on_it_and_nothing_else(hollow_run, config, change, kept):
    changed = config.model_copy(update=change)
    assert again(changed, hollow_run)[1] == kept
    assert read_run(hollow_run).status == "complete"
    assert again(changed, hollow_run)[1] == NAMES


@pytest.mark.parametrize(("change", "kept"), [CHANGES[name] for name in ("ks", "selector", "seed", "labels")])
def test_what_a_changed_key_keeps_does_not_depend_on_it(config, finished, tmp_path, monkeypatch, change, kept):
    """Computed anew under the changed configuration, the steps that were kept find the same."""
    monkeypatch.setattr(flow, "STEPS", STEPS[: len(kept)])
    fresh = run_study(config.model_copy(update=change), tmp_path / "fresh")
    before = finished[1].records[: len(kept)]
    assert [one.step for one in fresh.records] == kept
    assert plain([one.results for one in fresh.records]) == plain([one.results for one in before])


def test_a_run_that_is_partly_used_again_finds_what_a_fresh_one_finds(run, config, tmp_path):
    changed = config.model_copy(update={"ablation": AblationConfig(windows=3, draws=2)})
    result, used = again(changed, run)
    assert used == NAMES[: NAMES.index("ablate")]
    fresh = run_study(changed, tmp_path / "fresh")
    assert plain([one.results for one in result.records]) == plain([one.results for one in fresh.records])


def test_another_text_or_model_redoes_everything(hollow_run, config, inputs, tmp_path):
    other_text = tmp_path / "other.txt"
    other_text.write_text((inputs / "text.txt").read_text(encoding="utf-8") + " of", encoding="utf-8")
    assert again(config.model_copy(update={"text": str(other_text)}), hollow_run)[1] == []
    other_model = save_model(tmp_path / "llama", seed=1)
    assert again(config.model_copy(update={"models": (str(other_model),)}), hollow_run)[1] == []


def test_another_tokenizer_of_the_same_weights_redoes_everything(hollow_run, config, inputs, tmp_path):
    """The same bytes get other ids: nothing of before is about these tokens."""
    copy = shutil.copytree(inputs / "llama", tmp_path / "llama")
    file = copy / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    assert again(config.model_copy(update={"models": (str(copy),)}), hollow_run)[1] == []


def test_a_step_that_computes_something_else_now_runs_again(hollow_run, config, monkeypatch):
    newer = tuple(replace(step, version=step.version + (step.name == "bases")) for step in flow.STEPS)
    monkeypatch.setattr(flow, "STEPS", newer)
    assert again(config, hollow_run)[1] == ["collect", "labels", "probe", "controls", "cards"]


def test_force_redoes_everything_to_the_same_result(hollow_run, config):
    before = contents(hollow_run)
    (hollow_run / "models/llama/stale.txt").write_text("left from before")
    result, used = again(config, hollow_run, force=True)
    assert used == []
    assert result.run.status == "complete"
    assert contents(hollow_run) == before


def test_a_missing_store_is_collected_again(hollow_run, config):
    shutil.rmtree(hollow_run / "models/llama/store")
    assert again(config, hollow_run)[1] == NAMES[1:]


def test_a_cut_shard_is_collected_again(hollow_run, config):
    (shard,) = (hollow_run / "models/llama/store").rglob("*.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    assert again(config, hollow_run)[1] == NAMES[1:]
    assert shard.read_bytes() == whole


def test_a_damaged_record_is_named_with_the_way_out(hollow_run, config):
    file = hollow_run / "models/llama/probe/record.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(StoreError, match=r"probe/record\.json is damaged .*: run the study again with --force"):
        run_study(config, hollow_run)
    assert again(config, hollow_run, force=True)[0].run.status == "complete"


@pytest.mark.parametrize("name", ["artifact.json", "tensors.safetensors"])
def test_a_damaged_artifact_of_an_earlier_step_is_named(run, config, name):
    """The step before is done and is not made again, but the one after it cannot read what it left."""
    folder = run / "models/llama" / ("probe/probes" if name == "artifact.json" else "bases/featurizer-pca")
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"is damaged.*a study does it with --force"):
        run_study(config.model_copy(update={"ablation": AblationConfig(windows=3)}), run)
    assert read_run(run).status == "failed"
    assert "Stopped by an error: what is here is whole." in (run / "report.html").read_text(encoding="utf-8")


class Stopper(Recorder):
    """Presses Ctrl-C when a task begins to advance."""

    def __init__(self, title):
        super().__init__(on_advance=self.stop)
        self.title = title

    def stop(self, title):
        if title.startswith(self.title):
            raise KeyboardInterrupt


def stops_and_goes_on(config, folder, title, done):
    """Stops a study in the task of this title, and lets the same call finish it."""
    with pytest.raises(Interrupted, match=f"what is finished is kept in {folder}; the same command goes on from there"):
        run_study(config, folder, progress=Stopper(title))
    run = read_run(folder)
    assert run.status == "interrupted"
    assert list(run.models[0].steps) == done
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Interrupted: what is here is whole; the same command goes on from here." in page
    result, used = again(config, folder)
    assert used == done
    assert result.run.status == "complete"


@pytest.mark.parametrize(("title", "done"), [("collect", []), ("probe", ["collect", "labels"])])
def test_a_study_stopped_early_keeps_what_is_done_and_goes_on(tmp_path, config, hollow, title, done):
    hollow("labels", "probe")
    stops_and_goes_on(config, tmp_path / "run", title, done)
    run_study(config, tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_study_stopped_late_goes_on_from_what_lies_on_disk(tmp_path, config, finished):
    stops_and_goes_on(config, tmp_path / "run", "ablate", NAMES[: NAMES.index("ablate")])
    assert contents(tmp_path / "run") == contents(finished[0])


def test_a_step_that_breaks_leaves_a_whole_report(tmp_path, config, monkeypatch):
    def broken(work):
        raise RuntimeError("a bug")

    steps = (*STEPS[:2], Step(name="broken", title="Broken", run=broken))
    monkeypatch.setattr(flow, "STEPS", steps)
    with pytest.raises(RuntimeError, match="a bug"):
        run_study(config, tmp_path / "run")
    assert read_run(tmp_path / "run").status == "failed"
    assert "How often each feature occurs" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_a_method_joins_by_an_entry_in_the_list(tmp_path, config, monkeypatch):
    """Its figure, sentence, artifact and results are there, and nothing else was edited."""
    from report_figures import FIGURES

    def largest(work):
        table = work.artifact("probe", "probes")
        return Found(
            summary=("A new finding.",),
            figures=(FIGURES["bars"],),
            results={"features": len(table.features())},
            artifacts={"direction": uw.Direction(vector=[1.0, 0.0])},
        )

    added = Step(name="largest", title="A new method", run=largest, uses=("seed",))
    monkeypatch.setattr(flow, "STEPS", (*STEPS[:3], added))
    result = run_study(config, tmp_path / "run")
    assert [record.step for record in result.records] == ["collect", "labels", "probe", "largest"]
    assert result.records[-1].results["features"] == 1
    assert uw.load(tmp_path / "run/models/llama/largest/direction").vector.tolist() == [1.0, 0.0]
    page = result.report.read_text(encoding="utf-8")
    for words in ("A new method", "A new finding.", "A figure: bars"):
        assert words in page
    assert again(config, tmp_path / "run")[0].run.planned[-1] == "A new method"
    assert again(config.model_copy(update={"seed": 3}), tmp_path / "run")[0].run.status == "complete"


def test_two_models_with_one_name_are_told_apart(tmp_path, config, inputs, hollow):
    hollow("labels", "probe")
    other = save_model(tmp_path / "elsewhere" / "llama", seed=1)
    both = config.model_copy(update={"models": (str(inputs / "llama"), str(other), str(inputs / "llama"))})
    result = run_study(both, tmp_path / "run")
    assert [entry.name for entry in result.run.models] == ["llama", "llama (2)", "llama (3)"]
    assert len({entry.folder for entry in result.run.models}) == 3
    by_model = {entry.name: entry.fingerprint for entry in result.run.models}
    assert by_model["llama"] == by_model["llama (3)"] != by_model["llama (2)"]
    f1 = {name: [probe["f1"] for probe in result.summary()["probes"] if probe["model"] == name] for name in by_model}
    assert f1["llama"] == f1["llama (3)"] != f1["llama (2)"]
    for entry in result.run.models:
        assert list(entry.steps) == NAMES


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a", "a", "a (2)"], ["a", "a--2-", "a--2---2-"]),
        (["zoo:docs", "zoo-docs"], ["zoo-docs", "zoo-docs-2"]),
        (["..", ".", ""], ["model", "model-2", "model-3"]),
        (["../../etc", "é中"], ["..-..-etc", "é中"]),
    ],
)
def test_every_model_has_a_folder_of_its_own_inside_the_run(names, folders, tmp_path):
    found = flow.distinct([flow.slug(name) for name in flow.distinct(names)], mark="{}-{}")
    assert len(set(found)) == len(names)
    root = (tmp_path / "models").resolve()
    assert all((root / one).resolve().parent == root for one in found)
    assert found == folders


def test_a_model_in_the_current_directory_has_its_name(config, inputs, monkeypatch):
    monkeypatch.chdir(inputs / "llama")
    (planned,), _ = flow.plan_study(config.model_copy(update={"models": (".",)}))
    assert planned.model.name == "llama"


def test_a_directory_of_something_else_is_refused(tmp_path, config):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match=f"{tmp_path} exists and is not a run of a study: choose another directory"):
        run_study(config, tmp_path)
    with pytest.raises(InputError, match=r"letters\.txt exists and is not a run"):
        run_study(config, tmp_path / "letters.txt", force=True)
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_a_directory_inside_a_file_cannot_be_made(tmp_path, config):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"run cannot be made .*: choose another directory"):
        run_study(config, tmp_path / "file" / "run")


def test_without_a_directory_the_name_comes_from_the_configuration(monkeypatch, tmp_path, config):
    monkeypatch.chdir(tmp_path)
    first, other = (flow.run_directory(None, one) for one in (config, config.model_copy(update={"seed": 1})))
    assert str(first).startswith("unweave-runs/study-")
    assert first == flow.run_directory(None, config) != other
