"""Capture: what runs and what does not, what is kept, what is refused, and captures in several threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import hand_hooks
import tiny
import unweave as uw
from unweave.errors import DataError, InputError
from unweave.models.capture import stream
from unweave.models.points import find_point
from unweave.models.tokens import Tokens


@pytest.fixture(params=tiny.FAMILIES)
def family(request) -> str:
    return request.param


@contextmanager
def counted(module: nn.Module) -> Iterator[Counter[str]]:
    """How often each submodule is called within the context."""
    calls: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, part in module.named_modules():
            stack.callback(part.register_forward_pre_hook(lambda *_, name=name: calls.update([name])).remove)
        yield calls


def block_path(family: str, layer: int) -> str:
    return hand_hooks.RAW[family].blocks.replace("{L}", str(layer))


@pytest.mark.parametrize("site", ["embed", "blocks.0.mlp_act", "blocks.0.attn_z", "blocks.0.resid_post"])
def test_pass_stops_after_the_last_wanted_site(family, site):
    model = tiny.model_of(family)
    plain = model(tiny.ids_of())
    with counted(model.module) as calls:
        model.capture(tiny.ids_of(), [site])
    assert calls[block_path(family, 1)] == 0
    assert calls["lm_head"] == 0
    assert calls[block_path(family, 0)] == (site != "embed")
    with counted(model.module) as calls:
        after = model(tiny.ids_of())
    assert torch.equal(after, plain), "the pass that was cut short leaves nothing behind"
    assert calls[block_path(family, 0)] == calls[block_path(family, 1)] == 1


def test_pass_stops_inside_the_block(family):
    """`attn_z` needs no output matrix and no MLP of its block."""
    model = tiny.model_of(family)
    with counted(model.module) as calls:
        model.capture(tiny.ids_of(), ["blocks.1.attn_z"])
    raw = hand_hooks.RAW[family]
    assert calls[f"{block_path(family, 0)}.{raw.down_matrix}"] == 1
    assert calls[f"{block_path(family, 1)}.{raw.down_matrix}"] == 0


@pytest.mark.parametrize("family", [f for f in tiny.FAMILIES if "lm_head" in str(hand_hooks.RAW[f].places)])
def test_head_runs_for_logits_only(family):
    model = tiny.model_of(family)
    body = [site for site in model.sites() if site != "logits"]
    with counted(model.module) as calls:
        model.capture(tiny.ids_of(), body)
    assert calls["lm_head"] == calls[""] == 0, "neither the head nor the model around the body is called"
    with counted(model.module) as calls:
        model.capture(tiny.ids_of(), ["blocks.0.resid_pre", "logits"])
    assert calls["lm_head"] == 1


def test_one_pass_serves_all_sites(family):
    model = tiny.model_of(family)
    with counted(model.module) as calls:
        model.capture(tiny.ids_of(), model.sites())
    assert set(calls.values()) == {1}


def test_no_hook_stays_behind_whatever_happens(family):
    model = tiny.model_of(family)

    def hooks() -> int:
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.module.modules())

    def stumble(_site: uw.Site, _value: torch.Tensor) -> None:
        raise KeyboardInterrupt

    model.capture(tiny.ids_of(), ["blocks.0.mlp_out"])
    assert hooks() == 0
    points = [find_point(model.module, model.family, name) for name in ("blocks.0.ln1", "blocks.1.mlp_out")[-1:]]
    with pytest.raises(KeyboardInterrupt):
        stream(model, tiny.ids_of(), points, stumble)
    assert hooks() == 0


def test_alone_and_together_are_the_same(family):
    model = tiny.model_of(family)
    together = model.capture(tiny.ids_of(), model.sites())
    for site in model.sites():
        assert torch.equal(model.capture(tiny.ids_of(), site)[site], together[site])


def test_values_are_keyed_as_asked_and_in_that_order(family):
    model = tiny.model_of(family)
    asked = ["blocks.1.resid_post", "embed", "blocks.0.hook_attn_out"]
    assert list(model.capture(tiny.ids_of(), asked)) == asked


def test_module_path_of_a_transformer_is_the_same_quantity(family):
    model = tiny.model_of(family)
    path = f"{block_path(family, 0)}.{hand_hooks.RAW[family].down_matrix}"
    found = model.capture(tiny.ids_of(), [path, f"{path}:in", "blocks.0.mlp_out", "blocks.0.mlp_act"])
    assert torch.equal(found[path], found["blocks.0.mlp_out"])
    assert torch.equal(found[f"{path}:in"], found["blocks.0.mlp_act"])


def test_value_is_copied_even_where_it_stays_on_its_device():
    model = tiny.model_of("gpt2")
    for device in (None, "cpu", "cpu:0"):
        seen = {}
        with model.module.lm_head.register_forward_hook(lambda _m, _a, out, seen=seen: seen.update(out=out)):
            value = model.capture(tiny.ids_of(), "logits", device=device)["logits"]
        assert torch.equal(value, seen["out"])
        assert value.data_ptr() != seen["out"].data_ptr()


def test_captured_values_hold_no_graph():
    model = tiny.model_of("llama")
    assert not any(value.requires_grad for value in model.capture(tiny.ids_of(), model.sites()).values())


def test_ids_may_be_a_list_an_array_or_a_narrow_or_read_only_tensor():
    model = tiny.model_of("gpt2")
    ids = tiny.ids_of()
    wanted = model(ids)
    read_only = ids.numpy().copy()
    read_only.flags.writeable = False
    wide = torch.stack([ids, ids], dim=-1).flatten(1)[:, ::2]  # every other column: not contiguous
    for given in (ids.tolist(), ids.numpy(), read_only, ids.to(torch.int16), ids.to(torch.uint8), wide):
        assert torch.equal(model(given), wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("the cat", r"takes token ids, got text: model\.tokenize\(texts\)"),
        (["the cat", "the dog"], r"takes token ids, got text: model\.tokenize\(texts\)"),
        ([[1, 2], [3]], "token ids does not form an array: .*; rows of one length are needed"),
        (None, "token ids holds object values: numbers are needed"),
        ({"input_ids": [[1]]}, "token ids holds object values: numbers are needed"),
        ([1, 2, 3], r"shape \(3,\) and dtype torch\.int64: integers \(batch, pos\)"),
        ([[1.0, 2.0]], r"shape \(1, 2\) and dtype torch\.float64: integers \(batch, pos\)"),
        ([[True, False]], r"dtype torch\.bool: integers"),
    ],
)
def test_what_is_no_batch_of_ids_is_refused(given, message):
    model = tiny.model_of("gpt2")
    for verb in (model, lambda tokens: model.capture(tokens, "embed")):
        with pytest.raises(InputError, match=message):
            verb(given)


@pytest.mark.parametrize("ids", [np.zeros((0, 4), dtype=int), np.zeros((2, 0), dtype=int), [[]]])
def test_empty_batch_is_refused(ids):
    with pytest.raises(InputError, match=r"at least one sequence|integers \(batch, pos\)"):
        tiny.model_of("bert")(ids)


def test_ids_outside_the_vocabulary_are_refused(family):
    model = tiny.model_of(family)
    for wrong, low, high in (([[5, 97]], 5, 97), ([[-1, 3]], -1, 3)):
        with pytest.raises(InputError, match=rf"ids run from {low} to {high} but the model has ids 0\.\.96: use the"):
            model(wrong)


def test_too_long_sequences_are_refused(family):
    model = tiny.model_of(family)
    assert model.context == 64
    model(torch.ones(1, 64, dtype=torch.long))
    with pytest.raises(InputError, match="a sequence has 65 tokens but the model takes at most 64: cut the text"):
        model.capture(torch.ones(1, 65, dtype=torch.long), "embed")


def test_padding_does_not_count_towards_the_length(family):
    """65 columns, but no sequence has more than 40 real tokens."""
    model = tiny.model_of(family)
    mask = torch.zeros(2, 64, dtype=torch.bool)
    mask[0, :40], mask[1, -40:] = True, True
    found = model.capture(Tokens(ids=torch.ones(2, 64, dtype=torch.long), mask=mask), "blocks.1.resid_post")
    left, right = found["blocks.1.resid_post"]
    assert float((left[:40] - right[-40:]).abs().max()) < 1e-5  # as in law 5


def test_asking_for_nothing_is_refused():
    with pytest.raises(InputError, match=r"no site was asked for: name at least one, model\.sites\(\) lists all"):
        tiny.model_of("gpt2").capture(tiny.ids_of(), [])


def test_training_mode_is_refused_by_every_verb(family):
    """Dropout would make every number random; `load_model` has switched it off, so it was switched on since."""
    model = tiny.model_of(family)
    model.module.train()
    verbs: list[Callable[[], object]] = [
        lambda: model(tiny.ids_of()),
        lambda: model.capture(tiny.ids_of(), "embed"),
        lambda: model.section("blocks.0.resid_pre", "blocks.0.resid_post").check(tiny.ids_of()),
    ]
    if model.predicts_next:
        verbs.append(lambda: model.generate(tiny.ids_of(), 2))
    for verb in verbs:
        with pytest.raises(
            InputError, match=r"in training mode, its dropout is on: call model\.module\.eval\(\) first"
        ):
            verb()


@pytest.mark.parametrize(("family", "body"), [("gpt2", "transformer"), ("llama", "model"), ("bert", "encoder")])
def test_site_without_a_tensor_is_refused(family, body):
    """The output of the whole body is a record, not a tensor."""
    with pytest.raises(InputError, match=f"{body} holds a BaseModel.*, not a tensor: choose a module inside it"):
        tiny.model_of(family).capture(tiny.ids_of(), body)


def test_skipped_module_is_named():
    """An unused module never fires: the answer says so instead of coming back without it."""
    module = tiny.module_of("gpt2")
    module.unused = nn.Linear(2, 2)
    model = uw.load_model(module)
    with pytest.raises(InputError, match="unused did not run in this forward pass: the model skips it"):
        model.capture(tiny.ids_of(), ["embed", "unused"])


def test_tokens_without_any_real_token_are_refused():
    with pytest.raises(DataError, match=r"of which real \[2, 0\]: at least"):
        Tokens(ids=torch.ones(2, 2, dtype=torch.long), mask=torch.tensor([[True, True], [False, False]]))


def test_captures_in_two_threads_get_their_own_values(family):
    model = tiny.model_of(family)
    batches = [tiny.ids_of(2, 6, seed=seed) for seed in (3, 4)]
    wanted = [model.capture(batch, model.sites()) for batch in batches]
    start = threading.Barrier(2)
    found: list[list[dict[str, torch.Tensor]]] = [[], []]

    def work(number: int) -> None:
        start.wait()
        for _ in range(15):
            found[number].append(model.capture(batches[number], model.sites()))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        assert len(found[number]) == 15
        for values in found[number]:
            assert all(torch.equal(values[site], wanted[number][site]) for site in model.sites())


def test_hook_removed_by_another_thread_in_the_middle_of_a_pass_does_no_harm():
    """Torch calls a hook that it has already looked up, but without the keyword arguments, once its entry is gone."""
    module = nn.Sequential(nn.Linear(2, 2))
    model = uw.load_model(module)
    inside, removed = threading.Event(), threading.Event()
    outputs = []

    def slow(_module: nn.Module, _args: tuple[torch.Tensor]) -> None:
        if threading.current_thread() is other:
            inside.set()
            removed.wait(10)
        elif other.ident is None:
            other.start()
            inside.wait(10)

    other = threading.Thread(target=lambda: outputs.append(module(torch.ones(1, 2))))
    with module[0].register_forward_pre_hook(slow):
        model.capture(torch.zeros(1, 2), "0:in")
        removed.set()
        other.join()
        assert torch.equal(outputs[0], module(torch.ones(1, 2)))
