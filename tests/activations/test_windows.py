"""Documents cut into windows, windows dealt out to shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laws_activations
import tiny
from stores import EXAMPLES, TEXTS, model_of
from unweave.activations.shards import batches
from unweave.activations.texts import Text, read_texts
from unweave.activations.windows import (
    SpecialTokens,
    Unit,
    id_windows,
    special_tokens,
    tensor_windows,
    text_windows,
    units,
)
from unweave.errors import InputError


def windows_of(texts, context=16, special=None):
    special = special or SpecialTokens(before=(1,), after=(2,))
    return list(text_windows(read_texts(texts), model_of().tokenizer, context=context, special=special))


@EXAMPLES
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(4, 20))
def test_every_token_is_in_exactly_one_window(lengths, context):
    laws_activations.every_token_in_one_window(text_windows, lengths, context)


@EXAMPLES
@given(st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=8), st.integers(1, 20))
def test_shards_are_full_runs_of_windows(sizes, shard_rows):
    laws_activations.shards_are_full_runs_of_windows(units, sizes, shard_rows)


@EXAMPLES
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 60))
def test_batches_hold_every_window_once(lengths, batch_tokens):
    laws_activations.batches_hold_every_window_once(batches, lengths, batch_tokens)


def test_longest_windows_run_first():
    # so that the peak of memory comes at once
    windows = [window for _, own in windows_of(["a" * length for length in (3, 9, 5, 1)]) for window in own]
    found = batches(windows, np.array([0, 3, 12, 17, 18]), 1)
    assert [[window.rows for window in batch.windows] for batch in found] == [[9], [5], [3], [1]]


def test_positions_go_on_through_the_windows_of_a_document():
    [(document, windows)] = windows_of(["abcdefghij"], context=6)
    assert [(window.start, window.rows) for window in windows] == [(0, 4), (4, 4), (8, 2)]
    assert windows[2].values == (1, document.ids[8], document.ids[9], 2)


def test_documents_without_tokens_keep_their_number():
    found = windows_of(["", "a", "", "bc"])
    assert [(document.index, len(own)) for document, own in found] == [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert [window.sequence for _, own in found for window in own] == [0, 1]


def test_documents_are_tokenised_in_groups_without_being_mixed_up():
    texts = [f"{number}" * (number % 5) for number in range(150)]
    found = windows_of(texts)
    decoded = [model_of().tokenizer.decode(document.ids) for document, _ in found]
    assert decoded == texts
    assert [document.text for document, _ in found] == texts


def test_windows_are_a_stream():
    def endless():
        yield from (Text(text="a") for _ in range(64))
        raise AssertionError("read further than the group that is needed")

    stream = text_windows(endless(), model_of().tokenizer, context=8, special=SpecialTokens())
    assert next(stream)[0].index == 0


@pytest.mark.parametrize(("specials", "expected"), [(True, ((1,), (2,))), (False, ((), ()))])
def test_special_tokens_are_those_around_a_text(specials, expected):
    special = special_tokens(tiny.byte_tokenizer(specials=specials))
    assert (special.before, special.after) == expected
    assert special.count == len(expected[0]) + len(expected[1])


def test_special_tokens_of_a_tokenizer_of_few_letters_are_found():
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab={"<s>": 0, "x": 1, "y": 2}, merges=[]))  # has nothing for other letters
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = special_tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>"))
    assert (special.before, special.after) == ((0,), ())


def test_a_special_token_written_in_the_text_is_a_token_of_the_document():
    [(document, [window])] = windows_of(["a<s>b"])
    assert list(document.ids).count(1) == 1
    assert window.rows == 3


@pytest.mark.parametrize("context", [2, 1])
def test_a_context_without_room_is_refused(context):
    with pytest.raises(
        InputError, match=f"context is {context} but the tokenizer adds 2 special tokens to each window: at least 3 are"
    ):
        windows_of(["abc"], context=context)


def test_ids_are_cut_like_a_text():
    found = list(id_windows([torch.arange(5), [7], []], context=2))
    assert [[window.values for window in own] for _, own in found] == [[(0, 1), (2, 3), (4,)], [(7,)], []]
    assert [window.sequence for _, own in found for window in own] == [0, 1, 2, 3]
    assert [window.start for window in found[0][1]] == [0, 2, 4]


@pytest.mark.parametrize(
    ("item", "got"),
    [
        (torch.ones(2, 3, dtype=torch.long), r"shape \(2, 3\) and dtype torch.int64"),
        (torch.ones(3), r"shape \(3,\) and dtype torch.float32"),
    ],
)
def test_ids_of_another_shape_or_kind_are_refused(item, got):
    with pytest.raises(InputError, match=rf"input 1 has {got}: a sequence of token ids is needed"):
        list(id_windows([torch.arange(3), item], context=4))


def test_tensors_are_one_window_each():
    found = list(tensor_windows([torch.zeros(2, 3), torch.ones(2, 3)], lambda values: values.shape[0]))
    assert [(document.index, document.text, len(document.ids)) for document, _ in found] == [(0, None, 0), (1, None, 0)]
    assert [own[0].rows for _, own in found] == [2, 2]


def hashes(texts, *, context=16, shard_rows=40) -> list[str]:
    return [unit.inputs_sha256() for unit in units(windows_of(texts, context=context), shard_rows=shard_rows)]


def test_units_depend_on_texts_and_settings_alone():
    assert hashes(TEXTS) == hashes(iter(TEXTS))
    assert len(set(hashes(TEXTS))) == len(hashes(TEXTS)) > 3
    assert hashes(TEXTS, context=15) != hashes(TEXTS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"text": "ab"}, {"text": "ac"}),
        ({"text": "ab"}, {"text": "ab", "id": "x"}),
        ({"text": "ab", "id": "x"}, {"text": "ab", "id": "y"}),
    ],
    ids=["text", "with id", "id"],
)
def test_whatever_the_store_gets_is_in_the_hash(first, second):
    assert hashes([first]) != hashes([second])
    assert hashes([first]) == hashes([dict(first)])


def test_two_documents_hash_unlike_one():
    assert hashes(["ab", "cd"]) != hashes(["abcd"])
    assert hashes(["ab", ""]) != hashes(["ab"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_tensor_inputs_hash_by_value_shape_and_dtype(dtype):
    def of(values):
        return Unit(index=0, windows=[own[0] for _, own in tensor_windows([values], len)]).inputs_sha256()

    values = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).to(dtype)
    assert of(values) == of(values.clone()) == of(values.T.contiguous().T)
    assert of(values) != of(values.reshape(2, 3))
    assert of(values) != of(values.flip(0))
    assert of(values) != of(values.to(torch.uint8))


def test_tensors_with_gradients_hash_too():
    values = torch.ones(2, requires_grad=True)
    assert Unit(index=0, windows=[own[0] for _, own in tensor_windows([values], len)]).inputs_sha256()
