"""Conversations by the tokenizer's own template, against the tokenizer's own ids."""

from __future__ import annotations

import pytest
import torch

import tiny
from unweave.errors import InputError

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SHORT = [{"role": "user", "content": "Hi"}]
LONG = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


@pytest.fixture(scope="module")
def model():
    tokenizer = tiny.byte_tokenizer()  # one that adds <s> and </s> to every text: they must not come twice
    tokenizer.chat_template = TEMPLATE
    return tiny.model_of("llama", tokenizer=tokenizer, vocabulary=259)


@pytest.mark.parametrize("answer_next", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_ids_are_those_of_the_tokenizer(model, answer_next, side):
    tokens = model.tokenize_chats([SHORT, LONG], answer_next=answer_next, side=side)
    for number, chat in enumerate((SHORT, LONG)):
        own = model.tokenizer.apply_chat_template(chat, add_generation_prompt=answer_next)
        own = own["input_ids"] if not isinstance(own, list) else own
        assert tokens.ids[number][tokens.mask[number]].tolist() == own
    assert bool(tokens.mask[0, 0]) == (side == "right")
    assert tokens.texts[0] == "<s>[user]Hi</s>" + ("[assistant]" if answer_next else "")


def test_special_tokens_are_marked_and_offsets_are_in_the_written_text(model):
    tokens = model.tokenize_chats(SHORT)
    assert tokens.ids[0][tokens.special[0]].tolist() == [1, 2]
    pieces = [tokens.texts[0][first:last] for first, last in tokens.offsets[0].tolist()]
    assert "".join(pieces) == tokens.texts[0]


def test_an_answer_is_generated_from_it(model):
    tokens = model.tokenize_chats([SHORT, LONG], side="left")
    with torch.no_grad():
        answer = model.generate(tokens, 3)
    assert answer.ids.shape[1] == tokens.ids.shape[1] + 3


@pytest.mark.parametrize("chats", ["Hi", [], [[]], [{"role": "user"}], [SHORT, "Hi"], [["Hi"]]])
def test_what_is_no_conversation_is_refused(model, chats):
    with pytest.raises(InputError, match=r"a conversation is a list of"):
        model.tokenize_chats(chats)


def test_models_without_a_template_are_refused(model):
    with pytest.raises(InputError, match="its tokenizer has no chat template: give one"):
        tiny.text_model().tokenize_chats(SHORT)
    with pytest.raises(InputError, match="this model has no tokenizer: give one"):
        tiny.model_of("llama").tokenize_chats(SHORT)
    with pytest.raises(InputError, match="side is 'middle'"):
        model.tokenize_chats(SHORT, side="middle")
    with pytest.raises(InputError, match=r"template refuses the conversation \(system comes first\)"):
        model.tokenize_chats(LONG[::-1])
