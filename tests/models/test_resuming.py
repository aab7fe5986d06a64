"""A training that is stopped goes on to the identical end; a state of another training is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from unweave.errors import InputError
from unweave.models.zoo import corpus, modules, recipe
from unweave.models.zoo.resuming import STATE

TINY = recipe.Recipe(
    name="tiny", width=32, depth=1, heads=2, key_value_heads=1, mlp_width=48, vocabulary_size=270, context=16, batch=4,
    epochs=4,
)  # fmt: skip
WORDS = ["the cat sat on the mat", "a dog ran to the house", "the bird sang in the tree"]


class Stopped(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def few_documents(monkeypatch):
    documents = [corpus.Document(name=f"topics/{i}", text=". ".join(WORDS[i % 3 :] * 3)) for i in range(12)]
    monkeypatch.setattr(corpus, "documentation", lambda: documents)


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at every step of a training."""
    seen, real = [], recipe._mean_loss
    patch.setattr(recipe, "_mean_loss", lambda *given: seen.append(1) or real(*given))
    return seen


def stop_at(monkeypatch, call: int) -> None:
    """The optimiser ends the process at its n-th step."""
    import torch

    steps = iter(range(1, 10_000))
    real = torch.optim.AdamW.step

    def step(self, *args):
        if next(steps) == call:
            raise Stopped
        return real(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "a"
    with pytest.MonkeyPatch.context() as patch:
        documents = [corpus.Document(name=f"topics/{i}", text=". ".join(WORDS[i % 3 :] * 3)) for i in range(12)]
        patch.setattr(corpus, "documentation", lambda: documents)
        steps = counted(patch)
        recipe.train(TINY, folder)
    return folder, len(steps)


def same(one, other) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("model.safetensors", "zoo.json"))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_stopped_training_ends_as_if_it_had_not_stopped(whole, tmp_path, monkeypatch, share):
    folder, total = whole
    out, step = tmp_path / "b", 1 + int(share * total)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stopped):
            recipe.train(TINY, out)
    assert (out / STATE).exists() == (step > 1)
    seen = counted(monkeypatch)
    recipe.train(TINY, out)
    assert same(folder, out)
    assert not (out / STATE).exists()
    finished = int(share * 4)
    assert len(seen) == pytest.approx(total * (1 - finished / 4), abs=8)  # windows of an epoch depend on its phases


def test_a_state_of_another_training_is_refused(tmp_path, monkeypatch):
    out = tmp_path / "b"
    with monkeypatch.context() as patch:
        stop_at(patch, 40)
        with pytest.raises(Stopped):
            recipe.train(TINY, out)
    kept = (out / STATE).read_bytes()
    with pytest.raises(InputError, match="belongs to a training of another recipe, text or version"):
        recipe.train(replace(TINY, seed=1), out)
    (out / STATE).write_bytes(kept[: len(kept) // 2])
    with pytest.raises(InputError, match=r"is damaged \(.*delete it to train from the start"):
        recipe.train(TINY, out)


def test_modules_of_the_zoo_go_on_too(tmp_path, monkeypatch):
    short = replace(modules.MODULE_RECIPES["digits"], epochs=40)
    monkeypatch.setattr(modules, "MODULE_RECIPES", {"digits": short})
    facts = modules.train_module("digits", tmp_path / "a")
    with monkeypatch.context() as patch:
        stop_at(patch, 25)
        with pytest.raises(Stopped):
            modules.train_module("digits", tmp_path / "b")
    kept = load_file(tmp_path / "b" / STATE)
    assert kept["epochs, steps"].tolist() == [24, 24]
    assert modules.train_module("digits", tmp_path / "b") == facts
    assert same(tmp_path / "a", tmp_path / "b")


def test_the_command_goes_on_in_its_own_folder_only(unweave_zoo, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    code, message = unweave_zoo("digits", tmp_path / "other")
    assert (code, "is not empty and holds no unfinished training" in message) == (2, True)


@pytest.fixture
def unweave_zoo(capsys):
    from unweave.cli.main import run

    def call(name, out):
        code = run(["zoo", "train", name, "--out", str(out)])
        return code, capsys.readouterr().err

    return call
