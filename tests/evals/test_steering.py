"""Doses and schedules: a teacher-forced run is an edited run, planted half-lives are found, and one token misleads."""

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.evals.causing.behaviours import continuation, probability
from unweave.evals.causing.memory import memory
from unweave.evals.causing.patching import gradient, patching, scores
from unweave.evals.causing.persistence import falling, persistence
from unweave.evals.causing.probability_shift import probability_shift
from unweave.evals.causing.schedules import schedule_edits, weights
from unweave.evals.causing.steering import compare_schedules, generated_index, inject, side_effects, steering
from unweave.evals.planted.language import TAG_FOR, style_world
from unweave.models.running import prompt_of
from unweave.models.tokens import Tokens, pad

BEFORE, AFTER = "blocks.0.resid_pre", "blocks.0.resid_post"
NAMES = ("always", "prompt", "generated", "first:2", "from:1", "until:2", "every:2", "decay:0.5")


@pytest.fixture(scope="module")
def world():
    return style_world(seed=0)


@pytest.fixture(scope="module")
def texts(world):
    return world.continued(world.prompts(10, seed=0), seed=0, length=8)


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_forced_schedule_is_that_of_edits(name):
    """Padded on the left, against `model.edit` in one pass whose prompt lengths are known."""
    model = tiny.model_of("llama")
    ids, mask = pad([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14]], side="left")
    tokens, prompts = Tokens(ids=ids, mask=mask), [3, 2]
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    ready = patching(model, BEFORE, tokens)
    change = inject(direction, 0.7, weights(name, generated_index(ready, prompts)))
    measure = continuation(tokens, prompts)
    with prompt_of(torch.tensor(prompts)), model.edit(schedule_edits(BEFORE, direction, 0.7, name)):
        expected = scores(patching(model, AFTER, tokens), [None], measure)
    found = scores(ready, [change, None], measure)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["every:2", "decay:0.5", "first:2"])
def test_a_schedule_acts_alike_with_and_without_a_cache(name):
    model = tiny.model_of("gpt2")
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    edits = schedule_edits(AFTER, direction, 30.0, name)
    with model.edit(edits):
        cached, uncached = (model.generate(tiny.ids_of(2, 4), 6, use_cache=kind) for kind in (True, False))
    assert torch.equal(cached, uncached)
    assert not torch.equal(cached, model.generate(tiny.ids_of(2, 4), 6))


def test_the_dose_response_is_odd_about_the_plain_run_and_its_slope_that_of_autograd(world, texts):
    tokens, prompts, measure = texts
    ready = patching(world.model, AFTER, tokens)
    found = steering(
        ready, world.memory, measure, doses=(-1, -0.001, 0, 0.001, 1), unit="raw", prompts=prompts, neutral=None
    )
    plain = scores(ready, [None], measure)
    assert found.details["mean"][2] == pytest.approx(plain.mean(), abs=1e-6)
    slope = float((gradient(ready, measure) @ world.memory).sum()) / 10
    assert found.details["slope"] == pytest.approx(slope, rel=2e-2)  # float32 differences of .002
    assert found.supported
    assert found.scope == "sequence"
    assert found.details["spearman"] == pytest.approx(1)
    decoy = steering(ready, world.topic, measure, doses=(-1, 0, 1), unit="raw", prompts=prompts)
    assert not decoy.supported
    flipped = steering(ready, -world.memory, measure, doses=(-1, 0, 1), unit="raw", prompts=prompts)
    assert flipped.effect.value == pytest.approx(-found.effect.value, rel=1e-4)


def test_side_effects_are_divergence_and_loss_by_definition(world):
    tokens = Tokens(ids=world.prompts(3, seed=9, length=5), mask=torch.ones(3, 5).bool())
    ready = patching(world.model, AFTER, tokens)
    (nothing, moved) = side_effects(ready, world.memory, [0.0, 2.0])
    assert (nothing["kl"], nothing["loss"]) == (0, 0)
    plain = world.model(tokens).log_softmax(-1).detach()
    with world.model.edit({AFTER: lambda h: h + 2 * world.memory}):
        edited = world.model(tokens).log_softmax(-1).detach()
    assert moved["kl"] == pytest.approx(float((plain.exp() * (plain - edited)).sum(-1).mean()), rel=1e-4)
    following = tokens.ids[:, 1:, None]
    loss = [-one[:, :-1].gather(-1, following).sum() / 15 for one in (plain, edited)]
    assert moved["loss"] == pytest.approx(float(loss[1] - loss[0]), rel=1e-3, abs=1e-5)


def test_a_dose_that_damages_neutral_text_is_not_used(world, texts):
    tokens, prompts, measure = texts
    neutral = patching(world.model, AFTER, Tokens(ids=world.prompts(4, seed=5), mask=torch.ones(4, 4).bool()))
    ready = patching(world.model, AFTER, tokens)
    found = steering(
        ready, world.memory, measure, doses=(-4, -0.1, 0, 0.1, 4), unit="raw", prompts=prompts, neutral=neutral
    )
    kl = dict(zip(found.details["doses"], found.details["kl"], strict=True))
    assert found.details["test_dose"] == 0.1
    assert kl[0.1] <= 0.1 < kl[4]


def test_the_planted_half_lives_are_found():
    world = style_world(seed=0, gain=0.3)  # weak: log-probabilities are linear in the memory
    tokens, prompts, measure = world.continued(world.prompts(8, seed=1), seed=3, length=24)
    memory = persistence(patching(world.model, AFTER, tokens), world.memory, measure, dose=1.0, prompts=prompts, stop=4)
    assert memory.half_life.value == 1  # what is written behind the head is gone with the next token
    assert abs(memory.curve[6:]).max() < 1e-5
    style = persistence(patching(world.model, BEFORE, tokens), world.style, measure, dose=1.0, prompts=prompts, stop=4)
    # 8 of the 9 tokens seen at the stop were injected: half is left where 8 are half of those seen
    assert 4 <= style.half_life.value <= 12
    assert style.curve[20] > 0.1 * style.curve[4]
    with pytest.raises(InputError, match="shortest continuation has 24"):
        persistence(patching(world.model, BEFORE, tokens), world.style, measure, dose=1.0, prompts=prompts, stop=23)


@pytest.mark.slow
def test_memory_is_in_the_cache_in_the_text_or_nowhere():
    """Before the head, edited values stay in the cache; behind it only the words that were written remember; a dose of
    0 leaves nothing.
    """
    world = style_world(seed=0)
    ends = [world.words(of_the_style=kind)[:5] for kind in (True, False)]
    prompts = world.prompts(8, seed=0)

    def found(site, direction, dose=2.0):
        return memory(world.model, site, direction, prompts, *ends, dose=dose, stop=4, draws=1)

    before, behind = found(BEFORE, world.style), found(AFTER, world.memory)
    assert before.cache.low > 0.1
    assert before.text.value > 0.1
    assert before.text.p_value < 0.05
    assert before.total.value == pytest.approx(before.cache.value + before.text.value, abs=1e-12)
    assert abs(before.total.control) < before.total.value / 2
    assert abs(behind.curves[1, 1:]).max() < 1e-5  # the cache keeps nothing of what is written behind the head
    assert behind.curves[1, 0] > 0.1  # but for the token that the last injected position predicts
    assert behind.text.value > 0.1
    assert behind.differing > 0.5
    nothing = found(BEFORE, world.style, dose=0.0)
    assert abs(nothing.curves).max() == 0
    assert nothing.differing == 0
    assert "cannot remember" in nothing.text.warnings[-1]
    with pytest.raises(InputError, match="fewer than 2 tokens"):
        memory(world.model, BEFORE, world.style, prompts, [5], dose=1.0, stop=2)
    with pytest.raises(InputError, match="2 continuations for 8 prompts"):
        memory(world.model, BEFORE, world.style, prompts, [[5, 6], [7, 8]], dose=1.0, stop=2)
    with pytest.raises(TypeError, match="covector"):
        memory(world.model, BEFORE, uw.Readout(covector=world.style), prompts, *ends, dose=1.0, stop=2)


def test_the_monotone_fit_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    values = np.random.default_rng(0).normal(size=30)
    expected = IsotonicRegression(increasing=False).fit_transform(np.arange(30), values)
    np.testing.assert_allclose(falling(values), expected, atol=1e-12)


def test_the_first_token_misleads_where_the_whole_continuation_does_not(world):
    """A continuation that starts in the wrong style: the tag moves its first token against it, the whole towards it."""
    plain, tagged = (world.prompts(12, seed=2, tag=tag) for tag in (None, TAG_FOR))
    values = {}
    for name, prompts in (("plain", plain), ("tagged", tagged)):
        tokens, lengths, measure = world.continued(prompts, seed=4, length=10, wrong_start=1)
        ready = patching(world.model, AFTER, tokens)
        values[name] = scores(ready, [None], measure).mean()
        rows = Tokens(ids=tokens.ids[:12], mask=tokens.mask[:12])
        first = probability([[int(one)] for one in rows.ids[:, 4]], read=[lengths[0] - 1])
        assert first.scope == "first-token"
        values[name, "first"] = scores(patching(world.model, AFTER, rows), [None], first).mean()
    assert values["tagged"] > values["plain"] + 0.1
    assert values["tagged", "first"] < values["plain", "first"]


def test_schedules_are_compared_at_equal_total_dose(world, texts):
    tokens, prompts, measure = texts
    ready = patching(world.model, AFTER, tokens)
    names = ["always", "first:1", "decay:0.5"]
    found = compare_schedules(ready, world.memory, measure, names, dose=0.25, prompts=prompts)
    g = generated_index(ready, prompts)
    by_hand = [0.25, 12 * 0.25, 12 * 0.25 / (4 + sum(0.5**n for n in range(1, 9)))]
    changes = [inject(world.memory, dose, weights(name, g)) for dose, name in zip(by_hand, names, strict=True)]
    values = scores(ready, [None, *changes], measure).mean(1)
    for row, value in zip(found, values[1:], strict=True):
        assert row["effect"].value == pytest.approx(value - values[0], abs=1e-5)
    half = np.arange(len(scores(ready, [None], measure)[0])) % 2 == 0
    some = compare_schedules(ready, world.memory, measure, names, dose=0.25, prompts=prompts, items=half)
    by_item = scores(ready, [None, *changes], measure)[:, half]
    for row, value in zip(some, by_item[1:] - by_item[0], strict=True):
        assert row["effect"].value == pytest.approx(value.mean(), abs=1e-5)
        assert row["effect"].n == half.sum()
    with pytest.raises(InputError, match="injects nothing"):
        compare_schedules(ready, world.memory, measure, ["from:50"], dose=1.0, prompts=prompts)


def test_what_cannot_be_injected(world, texts):
    tokens, prompts, measure = texts
    ready = patching(world.model, AFTER, tokens)
    with pytest.raises(TypeError, match="a Readout is a covector"):
        steering(ready, uw.Readout(covector=world.memory), measure, prompts=prompts)
    with pytest.raises(InputError, match="symmetric about 0"):
        steering(ready, world.memory, measure, doses=(0.0, 1.0))
    for name in ("sometimes", "every:0", "first:1.5"):
        with pytest.raises(UnknownName, match="schedule"):
            weights(name, [0, 1])
    with pytest.raises(UnknownName, match="unit of dose"):
        steering(ready, world.memory, measure, unit="metre")
    with pytest.raises(InputError, match="belong together"):
        continuation(tokens, prompts, shows=[True] * 20)
    with pytest.raises(InputError, match="row 0 has no continuation"):
        continuation(tokens, [12] * 20)


def test_statements_shift_along_what_the_answer_reads(world):
    ready = patching(world.model, AFTER, world.prompts(12, seed=0), positions="last")
    words = [world.words(of_the_style=kind) for kind in (True, False)]
    found = probability_shift(ready, world.memory, world.memory, *words, draws=19)
    assert found.supported
    assert found.scope == "first-token"
    up, down = found.details["gap"][1:]
    assert found.effect.value == pytest.approx((up - down) / 2)
    assert found.details["mass"][0] > 0.5
    turned = probability_shift(ready, -3 * world.memory, world.memory, *words, draws=19)
    assert turned.effect.value == pytest.approx(found.effect.value)  # sign and length of the direction do not count
    part = probability_shift(ready, world.memory, world.memory + 5 * world.topic, *words, draws=19)
    assert part.details["step"] == pytest.approx(
        found.details["step"], rel=1e-5
    )  # the rest of the difference is left out
    assert not probability_shift(ready, world.topic, world.topic, *words, draws=19).supported
    with pytest.raises(InputError, match="say true and false"):
        probability_shift(ready, world.memory, world.memory, [3], [3, 4])
    with pytest.raises(InputError, match="direction and difference have 24 and 3 entries"):
        probability_shift(ready, world.memory, world.memory[:3], [3], [4])
