"""Suites: prompts have the tokens and positions that the tests need, a model that cannot do a task is not patched, and
what no tokenizer can say is refused. Numbers on random models mean nothing: this is plumbing.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import samples
import tiny
import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.evals.findings import Verdict
from unweave.evals.planted.language import style_world
from unweave.evals.suites import words
from unweave.evals.suites.circuits import frequency_blocks, key_frequencies, modular_addition_pairs
from unweave.evals.suites.contrast import Continued, continued_tokens, contrast_study, honest_answers, honesty_pairs
from unweave.evals.suites.facts import attributes, knowledge_conflict
from unweave.evals.suites.files import read_pairs
from unweave.evals.suites.published import greater_than, ioi
from unweave.evals.suites.running import run_suite, suite_tests
from unweave.evals.suites.testing import run_test
from unweave.features.bases import random_rotation
from words_tokenizer import words_tokenizer


@pytest.fixture(scope="module")
def model():
    tokenizer = words_tokenizer()
    return tiny.model_of("gpt2", tokenizer=tokenizer, vocabulary=len(tokenizer))


def text_of(model, ids):
    return "".join(model.tokenizer.convert_ids_to_tokens(ids.tolist()))


def test_there_are_enough_words():
    assert len(words.IOI_TEMPLATES) >= 15
    assert len(set(words.NOUNS)) == len(words.NOUNS) >= 115
    assert len(set(words.NAMES)) == len(words.NAMES)


def test_ioi_prompts_and_their_corruptions(model):
    tests = {one.name: one for one in ioi(model, count=60, seed=0)}
    assert list(tests) == ["previous token", "duplicate", "position signal", "name signal"]
    assert {one.site for one in tests.values()} == {"blocks.0.resid_post", "blocks.1.resid_post"}
    previous, duplicate, end, name = tests.values()
    for row in range(60):
        io, s = (one[row] for one in previous.answers[:2])
        ids, length = previous.base.ids[row], int(previous.base.lengths()[row])
        assert (ids[:length] == io).sum() == 1
        assert (ids[:length] == s).sum() == 2
        (after_io, after_s1), (s2,), (last,) = previous.positions[row], duplicate.positions[row], end.positions[row]
        assert ids[after_io - 1] == io
        assert ids[after_s1 - 1] == s
        assert ids[s2] == s != after_s1 - 1
        assert last == length - 1
        swapped, renamed = previous.source.ids[row], name.source.ids[row]
        assert (swapped[after_io - 1], swapped[after_s1 - 1], swapped[s2]) == (s, io, s)
        assert (renamed[after_io - 1], renamed[after_s1 - 1], renamed[s2]) == (s, io, io)
        assert text_of(model, ids[:length]).endswith(" to")
    first = [previous.positions[row][0] < previous.positions[row][1] for row in range(60)]
    assert 20 <= sum(first) <= 40  # the subject comes first in half of them
    again = ioi(model, count=60, seed=0)[0]
    assert torch.equal(again.base.ids, previous.base.ids)


def test_years_are_compared_at_the_end(model):
    (test,) = greater_than(model, count=40, seed=0)
    for row in range(40):
        ids = test.base.ids[row][test.base.mask[row]]
        text = text_of(model, ids)
        year, century = text.split(" year ")[1].split(" to ")
        assert year[:2] == century
        corrupt = text_of(model, test.source.ids[row][test.source.mask[row]])
        assert corrupt == text.replace(f" {year} ", f" {century}01 ")
        assert test.positions[row] == [len(ids) - 1]
    logits = torch.full((1, 1, model.vocabulary_size), -1e9)
    logits[0, 0, model.tokenizer.convert_tokens_to_ids("99")] = 0
    score = test.measures[0].score(logits, torch.tensor([0]), torch.tensor([0]))
    assert float(score) == pytest.approx(1)
    with pytest.raises(InputError, match="sets of tokens"):
        test.pairs()


def test_a_suite_on_a_model_that_cannot_do_it_says_so(model, tmp_path):
    basis = replace(random_rotation(32), site="blocks.0.resid_post", blocks=(8,) * 4)
    for name in ("ioi", "greater-than"):
        found = run_suite(model, basis, name, count=12, seed=0)
        for row in found.rows:
            if row.done < 0.5:
                assert row.whole is None
                assert "does not do this task" in row.note
            else:
                assert len(row.spreads) == 5
        assert samples.same(uw.load(uw.save(found, tmp_path / name)), found)
    with pytest.raises(UnknownName, match="nearest: 'ioi'"):
        suite_tests(model, "iio")
    with pytest.raises(UnknownName, match="nearest: 'ioi'"):
        run_suite(model, basis, "iio")


def test_a_suite_on_a_model_that_knows_the_answer(model):
    """Logits of the object are raised by hand: the suite then patches, and the spread is that of the partition."""
    test = ioi(model, count=20, seed=0)[1]
    favoured = replace(test, chance=-1e9)  # whatever it does counts as doing it
    basis = replace(random_rotation(32), site=test.site, blocks=(8,) * 4)
    logit, share = run_test(model, basis, favoured, None, 0)
    assert [one.basis for one in logit.spreads] == ["random", "identity", "random", "pca", "pca descending"]
    assert (logit.scope, share.unit if hasattr(share, "unit") else share.measure) == ("first-token", "probability")
    pairs = test.pairs()
    plain = uw.evals.patching(model, test.site, test.base, test.source, positions=test.positions)
    moved = uw.evals.interchange(model, basis, None, test.base, test.source, test.positions)
    last = moved[torch.arange(20), test.base.lengths() - 1].detach()
    before = uw.evals.scores(plain, [None], test.measures[0])[0]
    rows = torch.arange(20)
    after = (last[rows, torch.tensor(pairs.base_answer)] - last[rows, torch.tensor(pairs.answer)]).numpy()
    assert logit.whole.value == pytest.approx(float((after - before).mean()), abs=1e-5)


def test_attributes_follow_the_source_or_stay(model):
    found = attributes(model, "Country", count=30, seed=0)
    known = {row["Country"]: name for name, row in words.CITIES.items()}
    for row in range(30):
        pairs = found.cause
        answers = model.tokenizer.convert_ids_to_tokens([pairs.base_answer[row], pairs.answer[row]])
        base, source = (known[one.strip()] for one in answers)
        ids, other = pairs.base.ids[row], pairs.source.ids[row]
        assert model.tokenizer.convert_ids_to_tokens(int(ids[pairs.positions[row][0]])) == f" {base}"
        assert model.tokenizer.convert_ids_to_tokens(int(other[pairs.source_positions[row][0]])) == f" {source}"
    assert found.isolate.answer == found.isolate.base_answer
    assert found.isolate.answer != found.isolate.source_answer
    with pytest.raises(InputError, match="no entity or template"):
        attributes(model, "Mayor")


def test_conflicts_change_names_and_nothing_else(model):
    context, memory = knowledge_conflict(model, "blocks.1.resid_mid", count=20, seed=0)
    assert (context.name, memory.name) == ("context", "memory")
    assert [one.scope for one in context.measures] == ["first-token"] * 3
    for row in range(len(context.base)):
        base, one, two = (
            text_of(model, tokens.ids[row][tokens.mask[row]])
            for tokens in (context.base, context.source, memory.source)
        )
        entity = base[: base.index(" won")]
        assert one.count(entity) == 1
        assert two.count(entity) == 0
        assert base.count(entity) == 2
    with pytest.raises(DataError, match="no invented name"):
        knowledge_conflict(model, "blocks.1.resid_mid", invented=["A B C D E F G"])


def test_pairs_from_a_file(model, tmp_path):
    path = tmp_path / "pairs.jsonl"
    row = {"base": "When Mary gave", "source": "When John gave", "answer": " John", "base_answer": " Mary"}
    path.write_text("\n".join(json.dumps({**row, "group": "g"}) for _ in range(3)) + "\n\n")
    pairs = read_pairs(model, path)
    assert len(pairs) == 3
    assert pairs.answer == [model.tokenizer.convert_tokens_to_ids(" John")] * 3
    assert np.asarray(pairs.groups).tolist() == ["g"] * 3
    for text, message in (
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: a list"),
        (json.dumps({"base": "a"}), "no text under source, answer, base_answer"),
        (json.dumps({**row, "anser": "x"}), "unknown key 'anser'"),
        ("", "has no pairs"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_pairs(model, path)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(model, tmp_path / "none.jsonl")


def test_tokenizers_that_cut_names_or_years_are_refused():
    letters = tiny.text_model("llama")
    with pytest.raises(DataError, match="names are one token"):
        ioi(letters, count=2)
    with pytest.raises(DataError, match="years are two tokens"):
        greater_than(letters, count=2)
    with pytest.raises(InputError, match="needs a causal language model"):
        ioi(tiny.text_model("bert"), count=2)
    with pytest.raises(InputError, match="no tokenizer"):
        ioi(tiny.model_of("gpt2"), count=2)


def test_the_gpt2_tokenizer_has_the_words(data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data / "models/gpt2_tokenizer")
    real = tiny.model_of("gpt2", tokenizer=tokenizer, vocabulary=len(tokenizer))
    tests = ioi(real, count=30, seed=0)
    assert all(bool((one.base.lengths() == one.source.lengths()).all()) for one in tests)
    assert len(words.single_tokens(real, words.NAMES, least=4, kind="names")) >= 30
    (years,) = greater_than(real, count=20, seed=0)
    assert bool((years.base.lengths() == years.source.lengths()).all())
    published = json.loads((data / "ndm/prompts/prompts_greater_than.json").read_text())
    assert len({len(tokenizer(one)["input_ids"]) for one in published[:20]}) == 1


def test_verdicts_are_words():
    assert {one.value for one in Verdict} >= {"supported", "refuted", "undecided"}


def test_modular_addition_goes_over_with_its_key_frequencies():
    """Published mechanism (arXiv 2301.05217): five frequencies carry the sum; no other ten dimensions do."""
    adding = uw.load_model("zoo:modadd")
    pairs = modular_addition_pairs(113, 60)
    weights = adding.module.unembed.W_U.detach()
    strength = key_frequencies(weights, 113)
    count = int((strength > 0.1 * strength.max()).sum())
    assert 3 <= count <= 12
    basis = frequency_blocks(weights, 113, count, site="blocks.0.mlp")
    found = uw.evals.interchange_accuracy(adding, basis, 0, pairs, draws=19)
    assert found.effect.value > 0.9
    assert found.effect.control < 0.3
    assert found.supported


def test_a_contrast_study_reports_what_the_first_token_alone_would_claim():
    world = style_world(seed=0)
    continued = world.continued(world.prompts(12, seed=0), seed=0, length=8, wrong_start=1)
    found = contrast_study(
        world.model,
        {
            "blocks.0.resid_post": uw.Direction(vector=-world.memory),
            "blocks.0.resid_pre": uw.Direction(vector=world.topic),
        },
        continued,
        unit="raw",
    )
    against, decoy = found.layers
    assert against.first.supported  # the continuation starts in the other style: writing against it raises that token
    assert not against.sequence.supported
    assert against.misled
    assert not decoy.sequence.supported
    assert found.misled_share >= 0.5
    assert {row["schedule"] for row in found.schedules} == {"always", "prompt", "first:1", "every:2"}
    assert against.row()["misled"]
    assert {row["effect"].n for row in found.schedules} == {7}  # the site was chosen on the other five prompts
    with pytest.raises(InputError, match="no direction"):
        contrast_study(world.model, {}, continued)


def test_honest_texts_are_pairs_of_equal_length(model):
    pairs = honesty_pairs()
    assert len(pairs) > 20
    assert all(one.positive.split(". ", 1)[1] == one.negative.split(". ", 1)[1] for one in pairs)
    (tokens, lengths, behaviour), groups = continued_tokens(model, honest_answers())
    assert len(tokens) == 2 * len(words.CITIES) == 2 * len(groups)
    assert behaviour.scope == "sequence"
    assert lengths[0] == lengths[len(groups)]
    with pytest.raises(InputError, match="equally many"):
        continued_tokens(model, [Continued(prompt="The city of", showing=" Paris.", other=" Rome")])
    with pytest.raises(InputError, match="no continuations"):
        continued_tokens(model, [])
