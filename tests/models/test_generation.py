"""Generation: cached, uncached and by hand give one text, with edits on any schedule; batches equal single runs."""

from __future__ import annotations

import pytest
import torch

import hand_hooks
import laws_models as laws
import tiny
import unweave as uw
from unweave.errors import InputError
from unweave.models.generation import generate
from unweave.models.tokens import Tokens

CAUSAL = [family for family in tiny.FAMILIES if tiny.model_of(family).predicts_next]
SCHEDULES = {
    "always": "always",
    "prompt": "prompt",
    "generated": "generated",
    "first:2": "first:2",
    "from:3": "from:3",
    "from:0": "from:0",
    "odd steps": lambda step: step % 2 == 1,
    "one place": lambda step: step == -1,
}
SEQUENCES = ([3, 14, 15, 92, 65], [35, 8], [9, 1, 32, 38, 46, 26, 43])
STEPS = 8


@pytest.fixture(params=CAUSAL, scope="module")
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> uw.Model:
    return talkative(family)


def talkative(family: str) -> uw.Model:
    """Without an end token, so that no sequence stops early, and with a head of its own: a tied one repeats a token."""
    module = tiny.module_of(family)
    module.generation_config.eos_token_id = None
    module.lm_head.weight = torch.nn.Parameter(torch.randn(97, 32, generator=torch.Generator().manual_seed(6)))
    return uw.load_model(module, name=f"talkative-{family}")


def edit_of(schedule: object, positions: object = "all") -> uw.Edit:
    """Strong enough to be felt by an argmax wherever it acts."""
    push = 6 * torch.randn(32, generator=torch.Generator().manual_seed(7))
    return uw.Edit(site="blocks.0.resid_post", operator=lambda h: push - h, positions=positions, schedule=schedule)


def test_greedy_text_is_that_of_a_loop_by_hand(family, model):
    ids = tiny.ids_of(2, 5)
    assert len(model.generate(ids, STEPS)[:, 5:].unique()) > 4, "a text of one token would test nothing"
    nothing = uw.Edit(site="blocks.0.resid_post", operator=lambda h: h)
    wanted = laws.decoded_by_hand(family, model, ids, nothing, STEPS)
    assert torch.equal(model.generate(ids, STEPS), wanted)
    assert torch.equal(model.generate(ids, STEPS, use_cache=False), wanted)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_cached_equals_uncached_equals_by_hand(family, model, schedule):
    laws.cached_equals_uncached(generate, family, model, tiny.ids_of(2, 5), edit_of(SCHEDULES[schedule]), STEPS)


def test_last_of_the_prompt_stays_the_last_of_the_prompt(family, model):
    """A rule on positions does not wander on with the tokens that are added."""
    laws.cached_equals_uncached(generate, family, model, tiny.ids_of(2, 5), edit_of("always", "last"), STEPS)


@pytest.mark.parametrize("site", ["embed", "blocks.0.attn_z", "blocks.1.resid_mid", "blocks.1.mlp_act", "logits"])
@pytest.mark.parametrize("schedule", ["prompt", "first:3", "from:2"])
def test_cached_equals_uncached_at_other_sites(model, site, schedule):
    ids = tiny.ids_of(2, 5)
    push = 5 * torch.randn(model.width(site), generator=torch.Generator().manual_seed(8))
    edit = uw.Edit(site=site, schedule=schedule, operator=lambda h: h + push.view(h.shape[2:]))
    with model.edit(edit):
        assert torch.equal(model.generate(ids, STEPS), model.generate(ids, STEPS, use_cache=False))


@pytest.mark.parametrize("schedule", ["always", "prompt", "first:2", "from:3"])
def test_batch_of_prompts_equals_one_by_one(model, schedule):
    """Prompts of different length: each keeps its own clock."""
    with model.edit(edit_of(SCHEDULES[schedule])):
        batch = model.generate(laws.batch_of(SEQUENCES, "right"), STEPS)
        alone = [model.generate(torch.tensor([sequence]), STEPS)[0] for sequence in SEQUENCES]
    for ids, mask, one in zip(batch.ids, batch.mask, alone, strict=True):
        assert torch.equal(ids[mask], one)


def test_prompts_padded_left_or_right_are_the_same_prompts(model):
    left, right = (model.generate(laws.batch_of(SEQUENCES, side), STEPS) for side in ("left", "right"))
    assert torch.equal(left.ids, right.ids)
    assert torch.equal(left.mask, right.mask)


@pytest.mark.parametrize("schedule", ["always", "prompt", "generated", "first:2", "from:3"])
def test_generation_by_the_user_is_edited_the_same(model, schedule):
    """`module.generate` inside the context: prompts are known from the first pass."""
    batch = laws.batch_of(SEQUENCES, "left")
    with model.edit(edit_of(SCHEDULES[schedule])):
        ours = model.generate(batch, STEPS)
        theirs = model.module.generate(
            batch.ids, attention_mask=batch.mask.long(), max_new_tokens=STEPS, do_sample=False, pad_token_id=0
        )
    assert torch.equal(ours.ids, theirs)


def test_two_generations_in_one_context_have_their_own_prompts(model):
    """The second prompt is longer than the first text: nothing of the first may count."""
    with model.edit(edit_of("first:2")):
        first = [
            model.module.generate(tiny.ids_of(1, n), max_new_tokens=4, do_sample=False, pad_token_id=0) for n in (3, 12)
        ]
    for ids, n in zip(first, (3, 12), strict=True):
        with model.edit(edit_of("first:2")):
            assert torch.equal(ids, model.generate(tiny.ids_of(1, n), 4))


def test_first_tokens_are_edited_where_the_schedule_says(family, model):
    """What runs at the edited block: the prompt in one pass, then one token a step, of which two are changed."""
    seen = []
    block = hand_hooks.block_of(family, model.module, 0)
    plain = {"h": None}
    with (
        block.register_forward_hook(lambda _m, _a, out: plain.update(h=out.clone())),
        model.edit(edit_of("first:2")),
        block.register_forward_hook(lambda _m, _a, out: seen.append((out != plain["h"]).any(-1).tolist())),
    ):
        model.generate(tiny.ids_of(1, 3), 5)
    assert seen == [[[False] * 3], [[True]], [[True]], [[False]], [[False]]]


def test_result_has_the_form_of_the_prompt(model):
    ids = tiny.ids_of(2, 4)
    plain = model.generate(ids, 3)
    assert plain.shape == (2, 7)
    assert torch.equal(plain[:, :4], ids)
    tokens = model.generate(Tokens(ids=ids, mask=torch.ones_like(ids).bool()), 3)
    assert torch.equal(tokens.ids, plain)
    assert tokens.mask.all()


def test_end_token_stops_a_sequence_and_the_rest_is_padding(family):
    """The third token of the greedy text is declared the end: later ones are padding in the mask."""
    model = talkative(family)
    prompt = tiny.ids_of(1, 4)
    text = model.generate(prompt, 6)[0, 4:].tolist()
    model.module.generation_config.eos_token_id = end = text[2]
    until = text.index(end) + 1
    found = model.generate(Tokens(ids=prompt, mask=torch.ones_like(prompt).bool()), 6)
    assert found.ids[0, 4:].tolist() == text[:until], "one sequence stops the loop"
    longer = tiny.ids_of(1, 4, seed=9)
    both = torch.cat([prompt, longer])
    batch = model.generate(Tokens(ids=both, mask=torch.ones_like(both).bool()), 6)
    assert batch.ids[0, 4 : 4 + until].tolist() == text[:until]
    assert batch.mask[0, 4:].tolist() == [True] * until + [False] * (batch.ids.shape[1] - 4 - until)


def test_sampling_repeats_with_its_seed_and_leaves_the_global_generator_alone(model):
    ids = tiny.ids_of(2, 4)
    before = torch.random.get_rng_state()
    first = model.generate(ids, 10, sample=True, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(model.generate(ids, 10, sample=True, seed=3), first)
    assert not torch.equal(model.generate(ids, 10, sample=True, seed=4), first)


def test_sampling_draws_from_the_distribution(model):
    """Share of each token among 4,000 draws of one step, against the softmax of the logits over the temperature."""
    prompt = torch.tensor([[3, 14, 15]])
    with torch.no_grad():
        wanted = (model(prompt)[0, -1].double() / 2.0).softmax(-1)
    drawn = model.generate(prompt.expand(4000, 3), 1, sample=True, temperature=2.0, seed=1)[:, -1]
    share = torch.bincount(drawn, minlength=tiny.VOCABULARY).double() / 4000
    error = (wanted * (1 - wanted) / 4000).sqrt()
    assert (
        (share - wanted).abs() <= 5 * error + 1 / 4000
    ).all()  # 97 shares, 5 standard errors each, one draw of slack


def test_cold_sampling_is_greedy(model):
    ids = tiny.ids_of(2, 4)
    assert torch.equal(model.generate(ids, 6, sample=True, temperature=1e-4), model.generate(ids, 6))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(model, temperature):
    with pytest.raises(InputError, match=f"temperature is {temperature}: above 0, or sample=False for the likeliest"):
        model.generate(tiny.ids_of(), 2, sample=True, temperature=temperature)


@pytest.mark.parametrize("count", [0, -3])
def test_at_least_one_token_is_generated(model, count):
    with pytest.raises(InputError, match=f"max_new_tokens is {count}: at least 1"):
        model.generate(tiny.ids_of(), count)


def test_prompt_and_continuation_must_fit(model):
    assert model.generate(torch.ones(1, 60, dtype=torch.long), 4).shape == (1, 64)
    with pytest.raises(InputError, match="prompt and continuation have 65 tokens but the model takes at most 64"):
        model.generate(torch.ones(1, 60, dtype=torch.long), 5)


def test_text_is_not_a_prompt(model):
    with pytest.raises(InputError, match=r"takes token ids, got text: model\.tokenize\(texts\) makes Tokens"):
        model.generate("once upon a time", 5)


def test_generation_leaves_the_model_as_it_was(model):
    ids = tiny.ids_of()
    with torch.no_grad():
        plain = model(ids)
        model.generate(ids, 3)
        assert torch.equal(model(ids), plain)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
