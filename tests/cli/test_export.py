"""`unweave export`: every format from what commands write, and one line for what does not fit."""

import json

import pytest
import torch

import samples_interaction
import unweave as uw
from unweave.features.activation import Activation
from unweave.features.bases import neurons
from unweave.features.foreign import load_gguf, load_saelens

SITE = "blocks.1.resid_post"


@pytest.fixture
def partition(tmp_path):
    return str(uw.save(neurons(4, site=SITE), tmp_path / "partition"))


def test_vectors(unweave, partition, tmp_path):
    out, labels = tmp_path / "v.jsonl", tmp_path / "labels.json"
    labels.write_text(json.dumps({"2": "calm"}))
    done = unweave(
        "export", partition, "--to", "neuronpedia", "--model", "gpt2-small", "--out", str(out), "--unit", "2",
        "--unit", "0", "--labels", str(labels), "--json",
    )  # fmt: skip
    assert done.document == {"out": str(out), "to": "neuronpedia", "site": SITE, "vectors": 2}
    bodies = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(body["unweave"]["index"], body["vectorLabel"]) for body in bodies] == [
        (2, "calm"), (0, f"neurons {SITE} 0"),
    ]  # fmt: skip


def test_a_graph_of_an_interaction_result(unweave, tmp_path):
    run = next(one for one in samples_interaction.artifacts().values() if type(one).__name__ == "InteractionResult")
    place = uw.save(run, tmp_path / "lib")
    out = tmp_path / "graph.json"
    done = unweave(
        "export", str(place), "--to", "neuronpedia-graph", "--model", "toy", "--out", str(out), "--edges", "3"
    )
    assert done.code == 0
    found = json.loads(out.read_text())
    assert f"edges {len(found['links'])}" in done.out
    assert 0 < len(found["links"]) <= 3


def test_a_dictionary_and_a_control_vector(unweave, tmp_path):
    f = uw.AffineFeaturizer(read=torch.eye(3, 5), act=Activation(kind="relu"), site=SITE)
    place = uw.save(f, tmp_path / "f")
    assert unweave("export", str(place), "--to", "saelens", "--out", str(tmp_path / "sae")).code == 0
    assert torch.equal(load_saelens(tmp_path / "sae").featurizer.read, f.read)
    place = uw.save(uw.Direction(vector=[1.0, 2.0], site=SITE), tmp_path / "d")
    assert (
        unweave("export", str(place), "--to", "gguf", "--model", "llama", "--out", str(tmp_path / "d.gguf")).code == 0
    )
    found = load_gguf(tmp_path / "d.gguf")
    assert (found.model_hint, found.directions[SITE].vector.tolist()) == ("llama", [1.0, 2.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "neuronpdia"), "nearest: 'neuronpedia'"),
        (("--to", "neuronpedia"), "the model has no name"),
        (("--to", "neuronpedia", "--model", "m", "--unit", "7"), "unit 7 is not in the featurizer"),
        (("--to", "neuronpedia", "--model", "m", "--labels", "missing.json"), "missing.json cannot be read"),
        (("--to", "neuronpedia-graph", "--model", "m"), "a graph or the result of `unweave lib fit`"),
        (("--to", "saelens"), "SAELens has dictionaries"),
        (("--to", "gguf"), "a control vector is made of directions"),
    ],
)
def test_what_does_not_fit_is_one_line(unweave, partition, tmp_path, arguments, message):
    done = unweave("export", partition, *arguments, "--out", str(tmp_path / "out"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.message
    assert not (tmp_path / "out").exists()


def test_labels_of_another_form(unweave, partition, tmp_path):
    (tmp_path / "labels.json").write_text("[1, 2]")
    done = unweave(
        "export", partition, "--to", "neuronpedia", "--model", "m", "--labels", str(tmp_path / "labels.json"), "--out",
        str(tmp_path / "out"),
    )  # fmt: skip
    assert done.code == 2
    assert "neither unit -> label nor a list" in done.message
