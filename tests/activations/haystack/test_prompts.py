"""Labelled prompts: published sets are grouped by what repeats, a group never stands on both sides of a split."""

import gzip

import numpy as np
import pytest

from haystacks import bytes_tokenizer, docs_tokenizer
from unweave.activations.haystack.prompts import LabelledPrompt, prompts, read_prompts
from unweave.errors import InputError
from unweave.tensors.splits import grouped_split, grouping

WIKIDATA = {56: 5000, 57: 5000, 58: 3000, 59: 2000, 60: 2000, 61: 2000}


def given(labels=("bigram", "not_bigram"), count=60):
    return [LabelledPrompt(text=f"prompt {n}", label=labels[n % len(labels)], group=f"{n // 2}") for n in range(count)]


def test_the_row_is_the_last_token():
    built = prompts("x", given(), bytes_tokenizer(), context=8)
    assert all(one.keep == (len(one.ids) - 1,) and len(one.ids) == 6 for one in built.sequences)
    assert [one.text for one in built.sequences][:2] == ["mpt 0"[-6:], "mpt 1"[-6:]] or built.sequences[
        0
    ].text.endswith("0")
    assert built.features[0].values.tolist() == [n % 2 == 0 for n in range(60)]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [(("bigram", "not_bigram"), ["bigram"]), (("0", "1"), ["1"]), (("false", "true"), ["true"]), (("a", "b"), ["a"]),
     (("a", "b", "c"), ["a", "b", "c"])],
)  # fmt: skip
def test_two_labels_are_one_feature_and_more_are_one_each(labels, wanted):
    assert [one.name for one in prompts("x", given(labels, 90), bytes_tokenizer()).features] == wanted


def test_tables_are_read_and_faults_named(tmp_path):
    file = tmp_path / "x.csv.gz"
    file.write_bytes(gzip.compress(b'prompt,prompt_len,target\n"two\nlines ",3,1\nby Anna Boden,2,0\n'))
    assert read_prompts(file, group_by="name") == [
        LabelledPrompt(text="two\nlines", label="1", group="two lines"),
        LabelledPrompt(text="by Anna Boden", label="0", group="Anna Boden"),
    ]
    with pytest.raises(InputError, match="no table of prompts at"):
        read_prompts(tmp_path / "none.csv")
    (tmp_path / "y.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="prompt and target are needed"):
        read_prompts(tmp_path / "y.csv")
    assert prompts("x", [*given(), LabelledPrompt(text="", label="bigram", group="")], bytes_tokenizer()).drops == {
        "prompts without a token": 1
    }


def files(data, folder):
    return sorted((data / "probing" / folder).glob("*.csv.gz"))


def test_the_published_compound_words_load_as_grouped_sets(data):
    assert len(files(data, "compound_words")) == 12
    for file in files(data, "compound_words"):
        found = read_prompts(file)
        assert len(found) == (3118 if "living-room" in file.name else 3200)
        assert sum(one.label == "bigram" for one in found) == len(found) // 2
        assert len({one.group for one in found}) == len({one.text for one in found}) < len(found)
        by_text = {one.text: one.label for one in found}
        assert all(by_text[one.text] == one.label for one in found), "no prompt has two labels"
        assert all(one.text == one.text.rstrip() for one in found)


def test_the_published_facts_load_grouped_by_name(data):
    for file in files(data, "wikidata"):
        found = read_prompts(file, group_by="name")
        assert len(found) == WIKIDATA[int(file.name[:2])]
        shares = {label: sum(one.label == label for one in found) for label in {one.label for one in found}}
        assert set(shares.values()) == {len(found) // 2}
        assert len({one.group for one in found}) <= len({one.text for one in found}) < 0.8 * len(found)


def test_repeated_prompts_stay_on_one_side(data):
    found = read_prompts(files(data, "compound_words")[1])[:800]
    built = prompts("living-room", found, docs_tokenizer())
    groups = np.array([one.group for one in built.sequences])
    held_out = grouped_split(
        grouping(groups, len(groups)), built.features[0].values[:, None].astype(float), test=0.3, seed=0
    )
    assert not set(groups[held_out]) & set(groups[~held_out])
    assert len(set(groups)) < len(groups)
