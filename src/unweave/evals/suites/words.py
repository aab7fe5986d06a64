"""Words and templates of the suites, all our own, and how they become token ids with known positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from unweave.errors import DataError, InputError
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad

NAMES = (
    "Mary", "John", "Tom", "James", "Dan", "Sarah", "Anna", "Peter", "Mark", "Laura", "Paul", "Emma", "David", "Kate",
    "Simon", "Alice", "Robert", "Jack", "Lisa", "Henry", "Rachel", "Adam", "Julia", "Eric", "Grace", "Frank", "Amy",
    "George", "Lucy", "Martin", "Helen", "Oliver", "Ruth", "Carl", "Jane", "Leo", "Nina", "Victor", "Rose", "Hugh",
)  # fmt: skip
PLACES = ("market", "park", "library", "station", "office", "garden", "school", "museum", "beach", "hotel")
THINGS = ("book", "ring", "drink", "ticket", "letter", "key", "camera", "basket", "map", "coin")
IOI_TEMPLATES = (
    "When{a} and{b} went to the{place},{s} gave a{thing} to",
    "After{a} and{b} came back from the{place},{s} handed a{thing} to",
    "While{a} and{b} waited at the{place},{s} passed a{thing} to",
    "Because{a} and{b} had met near the{place},{s} offered a{thing} to",
    "Once{a} and{b} were inside the{place},{s} showed a{thing} to",
    "Then{a} and{b} walked to the{place}, and{s} gave a{thing} to",
    "Before{a} and{b} left the{place},{s} sold a{thing} to",
    "In the morning{a} and{b} worked at the{place}, and{s} brought a{thing} to",
    "Last week{a} and{b} visited the{place}, where{s} gave a{thing} to",
    "As{a} and{b} talked outside the{place},{s} threw a{thing} to",
    "Yesterday{a} and{b} had lunch at the{place}, and{s} lent a{thing} to",
    "Friends{a} and{b} found a{thing} at the{place}, and{s} left it to",
    "Later{a} and{b} returned to the{place}, and{s} mailed a{thing} to",
    "Since{a} and{b} liked the{place},{s} promised a{thing} to",
    "At noon{a} and{b} reached the{place}, so{s} gave a{thing} to",
)
NOUNS = (
    "war", "siege", "voyage", "strike", "project", "drought", "festival", "trial", "reign", "exile",
    "dispute", "tour", "famine", "alliance", "occupation", "search", "rebellion", "peace", "study", "mission",
    "journey", "contract", "campaign", "crisis", "conflict", "truce", "blockade", "boom", "plague", "feud",
    "friendship", "marriage", "course", "expedition", "construction", "restoration", "negotiation",
    "pilgrimage", "partnership", "investigation", "apprenticeship", "sale", "ban", "custom", "fashion",
    "debate", "lease", "service", "treaty", "rule", "revolt", "school", "series", "practice", "tradition",
    "career", "training", "experiment", "production", "programme", "season", "rivalry", "regime", "monopoly",
    "union", "council", "order", "embargo", "migration", "settlement", "imprisonment", "illness", "residence",
    "correspondence", "collaboration", "competition", "exhibition", "excavation", "survey", "patrol", "guard",
    "watch", "chase", "hunt", "harvest", "trade", "traffic", "building", "digging", "printing", "writing",
    "painting", "teaching", "mining", "farming", "fishing", "sailing", "racing", "riding", "climbing",
    "flooding", "freezing", "thaw", "eruption", "decline", "growth", "rise", "fall", "expansion", "march",
    "retreat", "advance", "raid", "battle", "quarrel", "silence", "wait", "delay", "stay",
)  # fmt: skip
"""119 nouns."""
CENTURIES = range(11, 18)
CITIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Paris": {"Country": "France", "Language": "French", "Continent": "Europe"},
        "Rome": {"Country": "Italy", "Language": "Italian", "Continent": "Europe"},
        "Berlin": {"Country": "Germany", "Language": "German", "Continent": "Europe"},
        "Madrid": {"Country": "Spain", "Language": "Spanish", "Continent": "Europe"},
        "London": {"Country": "England", "Language": "English", "Continent": "Europe"},
        "Moscow": {"Country": "Russia", "Language": "Russian", "Continent": "Europe"},
        "Tokyo": {"Country": "Japan", "Language": "Japanese", "Continent": "Asia"},
        "Beijing": {"Country": "China", "Language": "Chinese", "Continent": "Asia"},
        "Seoul": {"Country": "Korea", "Language": "Korean", "Continent": "Asia"},
        "Delhi": {"Country": "India", "Language": "Hindi", "Continent": "Asia"},
        "Cairo": {"Country": "Egypt", "Language": "Arabic", "Continent": "Africa"},
        "Athens": {"Country": "Greece", "Language": "Greek", "Continent": "Europe"},
        "Lisbon": {"Country": "Portugal", "Language": "Portuguese", "Continent": "Europe"},
        "Warsaw": {"Country": "Poland", "Language": "Polish", "Continent": "Europe"},
        "Vienna": {"Country": "Austria", "Language": "German", "Continent": "Europe"},
        "Bangkok": {"Country": "Thailand", "Language": "Thai", "Continent": "Asia"},
    }
)
"""Entities with attributes; give a table of your own where the model knows others."""
CITY_TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Country": (" {e} is a city in the country of", " People in {e} live in the country of"),
        "Language": (" People in {e} speak the language", " The main language of {e} is"),
        "Continent": (" {e} is a city on the continent of", " The city of {e} lies on the continent of"),
    }
)
LAUREATES: Mapping[str, str] = MappingProxyType(
    {
        "Albert Einstein": "Physics", "Niels Bohr": "Physics", "Max Planck": "Physics",
        "Richard Feynman": "Physics", "Enrico Fermi": "Physics", "Paul Dirac": "Physics",
        "Ernest Rutherford": "Chemistry", "Fritz Haber": "Chemistry", "Linus Pauling": "Chemistry",
        "Otto Hahn": "Chemistry", "Alexander Fleming": "Medicine", "Robert Koch": "Medicine",
        "Ivan Pavlov": "Medicine", "Francis Crick": "Medicine", "Ernest Hemingway": "Literature",
        "Thomas Mann": "Literature", "Albert Camus": "Literature", "Rudyard Kipling": "Literature",
        "Nelson Mandela": "Peace", "Martin Luther King": "Peace", "Milton Friedman": "Economics",
        "John Nash": "Economics",
    }
)  # fmt: skip
MADE_UP = (
    "Jorin Tavell", "Mira Osk", "Pell Ardan", "Tobin Rusk", "Lena Vorr", "Kasper Wend", "Orla Finch Dane", "Rurik Ost",
    "Alban Thorne Meer", "Edda Lowen", "Silas Quorn", "Nadia Brell", "Veronika Hallstead", "Theodor Kalmar Winde",
)  # fmt: skip


def token_ids(model: Model, text: str) -> list[int]:
    """The ids of a text without special tokens."""
    if model.tokenizer is None:
        raise InputError("this model has no tokenizer: a suite needs one, load_model(..., tokenizer=...)")
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def prefix_ids(model: Model) -> list[int]:
    """What stands before every prompt: the model's begin token, else its end token, else nothing."""
    tokenizer = model.tokenizer
    found = getattr(tokenizer, "bos_token_id", None)
    found = getattr(tokenizer, "eos_token_id", None) if found is None else found
    return [] if found is None else [int(found)]


def prompt_tokens(model: Model, texts: Sequence[str]) -> Tokens:
    """Texts as prompts: what stands before every prompt, then their tokens."""
    ids, mask = pad([[*prefix_ids(model), *token_ids(model, text)] for text in texts])
    return Tokens(ids=ids, mask=mask)


def single_tokens(model: Model, words: Sequence[str], *, least: int, kind: str) -> dict[str, int]:
    """Word -> id, of the words that are one token behind a blank.

    Raises:
        DataError: Fewer than needed.
    """
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    found = {word: ids[0] for word in words if len(ids := token_ids(model, f" {word}")) == 1 and ids[0] != unknown}
    if len(found) < least:
        raise DataError(
            f"{len(found)} of {len(words)} {kind} are one token for this model's tokenizer: {least} are needed, the"
            " suite does not apply to it; give words of your own or another tokenizer"
        )
    return found


def filled(model: Model, template: str, slots: Mapping[str, Any]) -> tuple[list[int], dict[str, int]]:
    """The ids of a template with its slots filled by ids, and the position of the last token of each slot.

    Args:
        model: With the tokenizer.
        template: Text with `{slot}`.
        slots: Slot -> ids.
    """
    ids, places = prefix_ids(model), {}
    rest = template
    while rest:
        before, _, after = rest.partition("{")
        if before:
            ids += token_ids(model, before)
        slot, _, rest = after.partition("}")
        if slot:
            ids += list(slots[slot])
            places[slot] = len(ids) - 1
    return ids, places


def middle_site(model: Model, component: str) -> str:
    """The site of a component in the middle block; the end of that block where the family has none.

    Args:
        model: A transformer.
        component: Such as `resid_mid`.

    Raises:
        InputError: A plain module, which has no blocks.
    """
    names = [str(one) for one in model.sites()]
    stream = [one for one in names if one.endswith(".resid_post")]
    if model.family is None or not stream:
        raise InputError(f"{model.name or 'this model'} has no residual stream by name: a language model is needed")
    middle = stream[len(stream) // 2]
    wanted = middle.replace("resid_post", component)
    return wanted if wanted in names else middle
