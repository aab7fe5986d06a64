"""Where an edit acts: rules and schedules against a slow reading of their tables, and under padding."""

from __future__ import annotations

import pytest
import torch

import laws_models as laws
import tiny
import unweave as uw
from unweave.models.edits import edited
from unweave.models.positions import acts_at
from unweave.models.running import Pass

SEQUENCES = ([3, 14, 15, 92, 65], [35, 8], [9, 1, 32, 38, 46, 26, 43])
RULES = ("all", "last", [0], [1, 3], [-1, 0], (-2,), [], [99], [[0], [1], [-1, 2]], [[], [0, -1], []])
SCHEDULES = ("always", "prompt", "generated", "first:2", "first:0", "from:1", "from:0", lambda g: g % 2 == 0)


def passes() -> list[Pass]:
    """Prompts under right and left padding, and a cached step after prompts of different length."""
    right = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    return [
        Pass(real=mask, position=(mask.long().cumsum(1) - 1).clamp_min(0), prompt=mask.sum(1) - generated)
        for mask in (right, right.flip(1))
        for generated in (0, 1)
    ] + [
        Pass(
            real=torch.ones(3, 1, dtype=torch.bool),
            position=torch.tensor([[3], [7], [4]]),
            prompt=torch.tensor([3, 5, 2]),
        )
    ]


def acts_slowly(current: Pass, positions: object, schedule: object) -> list[list[bool]]:
    """The two tables of `positions`, read token by token."""
    table = []
    for row, prompt in enumerate(current.prompt.tolist()):
        flags = []
        for column, place in enumerate(current.position[row].tolist()):
            step = place - prompt
            if positions == "all":
                here = True
            elif positions == "last":
                here = place == prompt - 1
            else:
                wanted = positions[row] if positions and isinstance(positions[0], list) else positions
                here = any(place == (one if one >= 0 else prompt + one) for one in wanted)
            if callable(schedule):
                now = bool(schedule(torch.tensor(step)))
            else:
                name, _, count = schedule.partition(":")
                now = {
                    "always": True,
                    "prompt": step < 0,
                    "generated": step >= 0,
                    "first": 0 <= step < int(count or 0),
                    "from": step >= int(count or 0),
                }[name]
            flags.append(bool(current.real[row, column]) and here and now)
        table.append(flags)
    return table


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("positions", RULES)
def test_rules_and_schedules_mean_what_their_tables_say(positions, schedule):
    for current in passes():
        assert acts_at(current, positions, schedule).tolist() == acts_slowly(current, positions, schedule)


@pytest.fixture(params=tiny.FAMILIES)
def model(request) -> uw.Model:
    return tiny.model_of(request.param)


def changed_at(model: uw.Model, tokens: object, **rule: object) -> torch.Tensor:
    """(batch, pos): where the value at the site is not what it was."""
    site = "blocks.0.resid_post"
    before = model.capture(tokens, site)[site]
    with model.edit(uw.Edit(site=site, operator=lambda h: h + 1, **rule)):
        after = model.capture(tokens, site)[site]
    return (after != before).any(-1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_never_edited(model, side):
    batch = laws.batch_of(SEQUENCES, side)
    assert torch.equal(changed_at(model, batch), batch.mask)


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_is_the_last_real_token(model, side):
    batch = laws.batch_of(SEQUENCES, side)
    changed = changed_at(model, batch, positions="last")
    for row, sequence in enumerate(SEQUENCES):
        assert changed[row][batch.mask[row]].tolist() == [False] * (len(sequence) - 1) + [True]


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_count_real_tokens(model, side):
    batch = laws.batch_of(SEQUENCES, side)
    changed = changed_at(model, batch, positions=[0, -2, 6])
    for row, sequence in enumerate(SEQUENCES):
        wanted = {0, len(sequence) - 2, 6}
        assert changed[row][batch.mask[row]].tolist() == [place in wanted for place in range(len(sequence))]


def test_each_sequence_may_have_its_own_positions(model):
    changed = changed_at(model, tiny.ids_of(3, 5), positions=[[0], [], [1, -1]])
    assert changed.tolist() == [[True, *[False] * 4], [False] * 5, [False, True, False, False, True]]


@pytest.mark.parametrize("rule", [{}, {"positions": "last"}, {"positions": [0, -1]}, {"schedule": "prompt"}])
def test_batch_equals_one_by_one_and_left_equals_right_padding(model, rule):
    with torch.no_grad():
        laws.batch_equals_one_by_one(edited, model, SEQUENCES, **rule)


def test_whole_text_is_prompt_outside_generation(model):
    ids = tiny.ids_of()
    assert changed_at(model, ids, schedule="prompt").all()
    assert not changed_at(model, ids, schedule="generated").any()


def test_function_of_the_step_sees_every_token_of_the_pass(model):
    seen = []

    def schedule(step: torch.Tensor) -> torch.Tensor:
        seen.append(step.clone())
        return step == -2

    changed = changed_at(model, tiny.ids_of(2, 4), schedule=schedule)
    assert seen[0].tolist() == [[-4, -3, -2, -1]] * 2
    assert changed.tolist() == [[False, False, True, False]] * 2


def test_plain_call_with_a_mask_is_resolved_by_that_mask(model):
    """The user's own padded call of the module: the same positions as through our verbs."""
    batch = laws.batch_of(SEQUENCES, "left")
    edit = uw.Edit(site="blocks.0.resid_post", operator=lambda h: -h, positions="last")
    with model.edit(edit), torch.no_grad():
        ours = model(batch)
        output = model.module(batch.ids, attention_mask=batch.mask.long(), position_ids=batch.positions())
    assert torch.equal(output.logits if model.has_logits else output.last_hidden_state, ours)
