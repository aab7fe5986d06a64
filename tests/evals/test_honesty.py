"""The study of a behaviour as a suite: on the planted language model its answer is known; files are read by line."""

import json

import numpy as np
import pytest

import samples
import tiny
import unweave as uw
from unweave.errors import DataError, InputError
from unweave.evals.suites.contrast import PERSONAS, honest_answers
from unweave.evals.suites.honesty import _built_in, by_chance, read_behaviour
from unweave.evals.suites.parts import COMPONENTS
from unweave.evals.suites.running import run_suite
from unweave.evals.suites.tasks.behaviour import CARRYING, planted_behaviour
from unweave.study.suite_record import suite_record
from words_tokenizer import words_tokenizer


@pytest.fixture(scope="module")
def studied():
    return run_suite(planted_behaviour(), None, "honesty", count=10)


@pytest.mark.slow
def test_the_planted_behaviour_is_found_and_the_decoy_is_not(studied):
    assert studied.as_expected() == (10, 10)  # four directions and six components
    assert studied.rows[0].done == 1.0
    assert studied.rows[0].whole.low > 0  # asking for it works


@pytest.mark.slow
def test_first_tokens_claim_the_reverse(studied):
    """The continuations begin in the wrong style: the direction of the style lowers what their first token says."""
    row = studied.tables["first tokens against whole continuations"][0]
    assert (row["whole continuation"], row["first token"]) == ("supported", "refuted")


@pytest.mark.slow
def test_schedules_and_persistence_stand_beside_it(studied, tmp_path):
    (title,) = (one for one in studied.tables if one.startswith("schedules"))
    assert {row["schedule"] for row in studied.tables[title]} == {"always", "prompt", "first:1", "every:2"}
    for life in studied.tables["persistence after injection stops, tokens"]:
        assert (life["stop"], life["half-life"]) == (4, 1.0)  # the memory lasts for one token
    assert samples.same(uw.load(uw.save(studied, tmp_path / "s")), studied)


@pytest.mark.slow
def test_components_stand_in_a_table_and_a_figure(studied):
    """One head carries the behaviour; the other heads, MLPs and the second layer do not."""
    rows = {row["component"]: row for row in studied.tables[COMPONENTS]}
    assert len(rows) == 8
    assert {name for name, row in rows.items() if row["found"] == "supported"} == {
        name for name, carries in CARRYING.items() if carries
    }
    assert rows["blocks.0.attn_z head 0"]["share of the whole"] == pytest.approx(1, abs=0.02)
    (figure,) = (one for one in suite_record(studied, "m").figures if one.kind == "heatmap")
    assert set(figure.data["row"]) == {"layer 0", "layer 1"}
    assert max(figure.data["value"]) <= 1
    assert any("1.1 of 4 attention layers and MLPs take part" in one for one in studied.notes())


def test_a_model_without_the_behaviour_is_told_so():
    tokenizer = words_tokenizer()
    model = tiny.model_of("gpt2", tokenizer=tokenizer, vocabulary=len(tokenizer), seed=3)
    found = run_suite(model, None, "honesty")
    assert found.rows[0].done < 0.5
    assert not found.tested
    assert "does not do this task" in found.notes()[0]
    with pytest.raises(InputError, match="leave out the artifact"):
        run_suite(model, uw.features.random_rotation(32), "honesty")
    with pytest.raises(InputError, match="predicts no next token"):
        run_suite(tiny.text_model("bert"), None, "honesty")


def test_a_chat_model_is_asked_by_its_own_template_and_told_that_it_cannot(tmp_path):
    """A random model prefers one of two answers as well, and about as often as a coin."""
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    folder = tmp_path / "chat"
    tiny.module_of("llama", vocabulary=259, positions=256).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = uw.load_model(folder)
    data = _built_in(model, None, 0)
    asked, against = (f"[user]{persona}</s>[assistant]" for persona in PERSONAS)
    assert data.pairs[0].positive.startswith(f"{asked} The city of")
    assert data.continued[0].negative_prompt.startswith(f"{against} The city of")
    assert all(len(one.showing) == len(one.other) for one in data.continued)  # a byte a token
    found = run_suite(model, None, "honesty")
    assert not found.tested
    assert "does not do this task" in found.notes()[0]
    assert "a coin prefers half of them" in found.notes()[0]
    tokenizer.chat_template = "{{ raise_exception('no user speaks first') }}"
    refusing = uw.load_model(tiny.module_of("llama", vocabulary=259, positions=256), tokenizer=tokenizer)
    with pytest.raises(InputError, match="chat template refuses the conversation"):
        run_suite(refusing, None, "honesty")


def test_answers_of_unlike_length_find_others_of_their_own():
    found = honest_answers(tokens_in=len)
    assert all(len(one.showing) == len(one.other) and one.showing != one.other for one in found)
    odd = honest_answers(tokens_in=lambda text: 99 if text == " Japan." else len(text))
    assert "Tokyo" not in {one.group for one in odd}
    assert len(odd) == len(found) - 1
    with pytest.raises(DataError, match="no two answers about cities are equally long"):
        honest_answers(tokens_in=lambda text, seen={}: seen.setdefault(text, len(seen)))


def test_a_preference_is_held_against_a_coin():
    assert by_chance(np.ones(4, bool), np.arange(4)) > 0.05 > by_chance(np.ones(5, bool), np.arange(5))
    assert by_chance(np.repeat([True, False], 8), np.arange(16)) > 0.5
    grouped = by_chance(np.ones(40, bool), np.arange(40) // 10)  # four groups, not forty
    assert grouped == pytest.approx(1 / 16)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "b.jsonl"
    pair = {"positive": "a b", "negative": "a c", "group": 1}
    row = {"prompt": "a", "showing": " b", "other": " c", "positive_prompt": "x", "negative_prompt": "y"}
    path.write_text("\n".join(json.dumps(one) for one in (pair, row, {"neutral": "n"})))
    found = read_behaviour(path)
    assert (found.pairs[0].group, found.continued[0].showing, found.neutral) == ("1", " b", ("n",))
    for lines, message in (
        (["{"], "line 1: not JSON"),
        (["[1]"], "line 1: a list; write one object a line"),
        ([json.dumps(pair)], "1 contrast pairs and 0 continuations"),
        ([json.dumps({**row, "shwoing": "x"})], "unknown key 'shwoing'; nearest: 'showing'"),
        ([json.dumps({"prompt": "a", "showing": ""})], "no text under showing, other"),
        ([json.dumps({"positive": "a"})], "the pair has no negative"),
    ):
        path.write_text("\n".join(lines))
        with pytest.raises(InputError, match=message):
            read_behaviour(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_behaviour(tmp_path / "none")
