"""The bundled model: its corpus, the 5-gram it must beat, its recipe on a small scale, and what its record says."""

from __future__ import annotations

import itertools
import json
import math
import platform
import re
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.log import Silent
from unweave.models.zoo import corpus, facts, folder_of, kneser_ney, names, recipe
from unweave.models.zoo.tokenizer import train_tokenizer

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def documents() -> list[corpus.Document]:
    return corpus.documentation()


def paragraphs(document: corpus.Document) -> set[str]:
    squeezed = {" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", document.text)}
    return {part for part in squeezed if len(part) >= corpus.SHARED_FROM}


def test_no_two_documents_share_a_paragraph(documents):
    """So a split by document is a split of the text."""
    assert len({document.name for document in documents}) == len(documents) > 300
    seen: set[str] = set()
    for document in documents:
        own = paragraphs(document)
        assert not own & seen, document.name
        seen |= own


def test_shared_paragraphs_stay_with_the_first():
    long = "a paragraph that is long enough to count as shared"
    first, second, third = (
        corpus.Document(name=name, text=text)
        for name, text in (("a", f"{long}\n\nFor example:"), ("b", f"own\n \n{long.replace(' ', '  ')}"), ("c", long))
    )
    kept = corpus.without_shared_paragraphs([first, second, third])
    assert [(document.name, document.text) for document in kept] == [("a", first.text), ("b", "own")]


def test_held_out_is_a_function_of_the_name(documents):
    names = [document.name for document in documents]
    for source, share in corpus.HELD_OUT_PERCENT.items():
        own = [name for name in names if name.startswith(source)]
        held_out = sum(map(corpus.is_held_out, own)) / len(own)
        assert held_out == pytest.approx(share / 100, abs=4 * math.sqrt(share / 100 / len(own)))
    assert [corpus.is_held_out(name) for name in names] == [corpus.is_held_out(name) for name in names]


def slow_probability(documents, gram, *, size, start):
    """Modified Kneser-Ney straight from the definition, counting anew at every call."""
    padded = [[start] * 4 + list(document) for document in documents]
    fives = [tuple(row[i : i + 5]) for row in padded for i in range(len(row) - 4)]
    order = len(gram)
    tables = {5: {one: fives.count(one) for one in set(fives)}}
    for lower in (4, 3, 2, 1):  # distinct left neighbours
        tables[lower] = {}
        for one in tables[lower + 1]:
            tables[lower][one[1:]] = tables[lower].get(one[1:], 0) + 1

    def discount(table, count):
        n = [sum(1 for value in table.values() if value == wanted) for wanted in (1, 2, 3, 4)]
        if not all(n[:3]):
            return 0.5
        y = n[0] / (n[0] + 2 * n[1])
        return [1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]][min(count, 3) - 1]

    below = 1 / size if order == 1 else slow_probability(documents, gram[1:], size=size, start=start)
    own = {one: count for one, count in tables[order].items() if one[:-1] == gram[:-1]}
    if not own:
        return below
    total = sum(own.values())
    saved = sum(discount(tables[order], count) for count in own.values())
    count = own.get(gram, 0)
    return (count - discount(tables[order], count) if count else 0.0) / total + saved / total * below


def small_corpus(seed: int = 0, size: int = 6) -> list[list[int]]:
    """Words of a small alphabet with repeats, so that counts of 1, 2 and 3 all occur."""
    rng = np.random.default_rng(seed)
    weights = np.arange(size, 0, -1) / (size * (size + 1) / 2)
    return [rng.choice(size, size=length, p=weights).tolist() for length in (40, 25, 3, 60)]


def test_five_grams_equal_a_slow_twin():
    documents, size = small_corpus(), 6
    model = kneser_ney.fit(documents, vocabulary_size=size, start=size)
    rng = np.random.default_rng(1)
    for order in range(1, 6):
        for _ in range(12):
            gram = tuple(int(token) for token in rng.integers(0, size, size=order))
            slow = slow_probability(documents, gram, size=size, start=size)
            assert kneser_ney.probability(model, gram) == pytest.approx(slow, rel=1e-12)


def test_five_gram_probabilities_sum_to_one():
    documents, size = small_corpus(2), 6
    model = kneser_ney.fit(documents, vocabulary_size=size, start=size)
    contexts = [
        (),
        (0,),
        (5, 5, 5, 5),
        (size,) * 4,
        *itertools.islice(itertools.product(range(size), repeat=4), 0, 600, 37),
    ]
    for context in contexts:
        total = sum(kneser_ney.probability(model, (*context, token)) for token in range(size))
        assert total == pytest.approx(1, abs=1e-12)


def test_losses_count_every_token_once():
    documents, size = small_corpus(3), 6
    model = kneser_ney.fit(documents, vocabulary_size=size, start=size)
    total, count = kneser_ney.nats(model, documents)
    padded = [[size] * 4 + document for document in documents]
    slow = [
        -math.log(kneser_ney.probability(model, tuple(row[place - 4 : place + 1])))
        for row in padded
        for place in range(4, len(row))
    ]
    assert (total, count) == (pytest.approx(sum(slow)), len(slow))


TINY = recipe.Recipe(
    name="tiny", width=32, depth=1, heads=2, key_value_heads=1, mlp_width=48, vocabulary_size=300, context=16, batch=4,
    epochs=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model of the same recipe, trained on a few sentences through `train` itself."""
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    sentences = ["the cat sat on the mat", "a dog ran to the house", "the bird sang in the tree"]
    documents = [corpus.Document(name=f"topics/{i}", text=". ".join(sentences[i % 3 :] * 6)) for i in range(24)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "documentation", lambda: documents)
        found = recipe.train(TINY, folder)
    return folder, found, documents


def test_what_training_writes_loads_through_the_same_adapter(trained):
    folder, found, _ = trained
    model = uw.load_model(folder)
    assert model.predicts_next
    assert sum(parameter.numel() for parameter in model.module.parameters()) == found["parameters"]
    assert json.loads((folder / "zoo.json").read_text()) == found
    assert not model.module._forward_hooks


def test_training_learns_what_repeats(trained):
    _, found, _ = trained
    assert found["loss_nats_a_token"] < 0.5 * math.log(found["vocabulary_size"])


def test_a_training_in_bfloat16_learns_the_same_with_weights_that_are_not_rounded():
    """Products differ in the third digit; the weights would be multiples of 2^-8 of themselves were they rounded."""
    documents = [[1 + (7 * i + j) % 40 for j in range(60)] for i in range(8)]
    shape = replace(TINY, epochs=16, vocabulary_size=64, dropout=0.0)

    class Ends:
        bos_token_id, pad_token_id = 0, 63

    losses, weights = [], []
    for precision in ("float32", "bfloat16"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = recipe.build(shape, Ends())
            recipe.fit(model, documents, replace(shape, precision=precision), start=0)
        losses.append(np.mean([x for ids in documents for x in recipe.token_losses(model, ids, context=16, start=0)]))
        weights.append(model.model.embed_tokens.weight.detach())
    assert losses[0] < 3 < math.log(64)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert weights[1].dtype == torch.float32
    assert not torch.equal(*weights)
    assert not torch.equal(weights[1], weights[1].bfloat16().float())


def test_progress_counts_every_step_of_every_epoch():
    """Windows begin at random phases, so that epochs differ in length."""
    seen = []

    class Counting(Silent):
        @contextmanager
        def task(self, title, total, unit):  # noqa: ARG002 - the names are the protocol's
            seen.append(total)
            yield seen.append

    documents = [[1 + j % 40 for j in range(11 * i)] for i in range(2, 9)]

    class Ends:
        bos_token_id, pad_token_id = 0, 299

    recipe.fit(recipe.build(TINY, Ends()), documents, TINY, start=0, progress=Counting())
    total, *advances = seen
    assert total == sum(advances)


def test_the_record_says_which_documents_were_held_out(trained):
    _, found, documents = trained
    assert found["held_out"] == sorted(d.name for d in documents if corpus.is_held_out(d.name))
    assert found["training_documents"] + len(found["held_out"]) == len(documents)


def test_recorded_losses_are_of_the_weights_that_were_written(trained):
    """Recomputed from the files: float16 weights, windows of half a context, bits by the bytes of the text."""
    folder, found, documents = trained
    model = uw.load_model(folder)
    held_out = [document for document in documents if corpus.is_held_out(document.name)]
    losses = []
    for document in held_out:
        ids = model.tokenizer(document.text, add_special_tokens=False)["input_ids"]
        for place in range(len(ids)):
            begin = max(0, place // 8 * 8 - 8)
            given = torch.tensor([[model.tokenizer.bos_token_id, *ids[begin:place]]])
            with torch.no_grad():
                losses.append(-float(model(given)[0, -1].log_softmax(-1)[ids[place]]))
    assert found["held_out_tokens"] == len(losses)
    assert found["loss_nats_a_token"] == pytest.approx(np.mean(losses), rel=1e-4)
    size = sum(len(document.text.encode()) for document in held_out)
    assert found["bits_a_byte"] == pytest.approx(sum(losses) / math.log(2) / size, rel=1e-4)


def test_the_tokenizer_gives_the_text_back():
    tokenizer = train_tokenizer(["some words, and more words"] * 3, vocabulary_size=280)
    for text in ("some words", "  spaces\n\nand lines\t", "naïve 🙂 \u202bעברית"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


SIZES = [name for name in names() if name.startswith("docs-")]


def test_the_ladder_is_one_recipe_in_several_sizes():
    """Corpus, tokenizer and schedule are the same; what differs is the shape, and what the largest one's products are
    rounded to in training. All are below the 5-gram; the largest learns its half a megabyte by heart, so that more of
    it is better up to `docs-s` only.
    """
    shapes = {"name", "width", "depth", "heads", "mlp_width", "precision"}
    rest = [{key: value for key, value in asdict(one).items() if key not in shapes} for one in recipe.RECIPES.values()]
    assert rest[0] == rest[1] == rest[2]
    known = sorted((facts(name) for name in SIZES), key=lambda found: found["parameters"])
    assert [found["name"] for found in known] == [name for name in recipe.RECIPES if name in SIZES]
    assert {"docs-xs", "docs-s", "docs-m"} == set(SIZES)
    losses = {found["name"]: found["loss_nats_a_token"] for found in known}
    assert losses["docs-s"] < losses["docs-xs"]
    assert max(losses.values()) < known[0]["loss_5gram_nats_a_token"]
    assert len({found["loss_5gram_nats_a_token"] for found in known}) == 1  # the same held-out tokens
    assert len({found["training_sha256"] for found in known}) == 1
    assert len({(folder_of(name) / "tokenizer.json").read_bytes() for name in SIZES}) == 1
    for name in SIZES:
        assert facts(name)["recipe"] == json.loads(json.dumps(asdict(recipe.RECIPES[name])))


def test_the_bundled_models_are_small_and_docs_is_the_middle_one():
    assert folder_of("docs") == folder_of("docs-s")
    size = sum(path.stat().st_size for name in SIZES for path in folder_of(name).glob("*.safetensors"))
    assert size < 24 * MEGABYTE


@pytest.mark.parametrize("name", SIZES)
def test_the_bundled_model_beats_the_five_gram(name):
    known = facts(name)
    assert known["loss_nats_a_token"] < known["loss_5gram_nats_a_token"]
    assert known["bits_a_byte"] < known["bits_a_byte_5gram"]


def test_the_small_model_runs_like_the_middle_one():
    small, middle = uw.load_model("zoo:docs-xs"), uw.load_model("zoo:docs")
    text = "The for statement is used to iterate over the elements of a sequence."
    assert torch.equal(small.tokenize(text).ids, middle.tokenize(text).ids)
    assert small.predicts_next
    with torch.no_grad():
        ids = small.tokenize(text).ids
        loss = torch.nn.functional.cross_entropy(small(ids)[0, :-1], ids[0, 1:])
    assert float(loss) < math.log(2048) / 2  # of a guess among all tokens


@pytest.mark.parametrize("name", SIZES)
def test_the_bundled_model_saw_none_of_its_held_out_documents(documents, name):
    known = facts(name)
    assert known["held_out"]
    assert all(map(corpus.is_held_out, known["held_out"]))
    if platform.python_version() == known["python"]:
        training = [document for document in documents if not corpus.is_held_out(document.name)]
        assert corpus.sha256_of(training) == known["training_sha256"]
        assert len(training) == known["training_documents"]


@pytest.mark.slow
def test_the_recorded_losses_of_the_bundled_model(docs, documents):
    """On this Python's documentation; to the last digit where it is the text that the record was made on."""
    known = facts("docs")
    held_out = [document for document in documents if corpus.is_held_out(document.name)]
    training = [document for document in documents if not corpus.is_held_out(document.name)]
    ids, others = (
        [docs.tokenizer(document.text, add_special_tokens=False)["input_ids"] for document in part]
        for part in (held_out, training)
    )
    size = sum(len(document.text.encode()) for document in held_out)
    start = docs.tokenizer.bos_token_id
    found = recipe.held_out_losses(docs.module, recipe.RECIPES["docs-s"], others, ids, size, start=start)
    assert found["loss_nats_a_token"] < found["loss_5gram_nats_a_token"]
    if corpus.sha256_of(training) == known["training_sha256"]:
        for key, value in found.items():
            assert value == pytest.approx(known[key], rel=1e-4)
