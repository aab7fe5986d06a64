"""Words of a text and lists of words: what counts as one, which are left out, and groups that have a known shape.

A word is a maximal run of letters of any alphabet, or a whole number from 0 to 100 written with digits. English
function words are left out of bags unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from types import MappingProxyType

DIGITS = frozenset("0123456789")
NUMBERS = frozenset(map(str, range(101)))
_STOP = """
a about above across after afterwards again against all almost along already also although always am among an
and another any anybody anyone anything anywhere are aren around as at away back be became because become
becomes been before behind being below beside besides between beyond both but by came can cannot could couldn
did didn do does doesn doing don done down during each either else enough even ever every everybody everyone
everything everywhere except few for from further had hadn has hasn have haven having he hence her here hers
herself him himself his how however i if in indeed instead into is isn it its itself just least less ll many
me might mine more moreover most much must mustn my myself namely neither never nevertheless no nobody none
nor not nothing now nowhere of off often on once only onto or other others otherwise ought our ours ourselves
out over own per perhaps quite rather re really s same shall shan she should shouldn since so some somebody
somehow someone something sometimes somewhere still such t than that the their theirs them themselves then
there therefore these they this those though through throughout thus to together too toward towards under
until up upon us ve very via was wasn we well were weren what whatever when whenever where whereas wherever
whether which while who whoever whole whom whose why will with within without won would wouldn yes yet you
your yours yourself yourselves
"""
STOP = frozenset(_STOP.split())
"""English function words in lower case; not the month, nor the number words, which are in groups below."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "days": DAYS,
        "months": MONTHS,
        "planets": PLANETS,
        "roman numerals": ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"),
        "compass": ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"),
        "colours": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"),
        "numbers": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        "kinship": ("mother", "father", "sister", "brother", "daughter", "son", "aunt", "uncle", "wife", "husband"),
    }
)
"""Group -> its words in order; days, months and compass points go round."""
CYCLES = ("days", "months", "compass")
PAPER_FORCED = tuple(
    sorted(
        {*DAYS, *MONTHS, *PLANETS, "Mammal", "Bird", "Fish", "Reptile", "Amphibian", "Insect"}
        | {"Cow", "Eagle", "Salmon", "Snake", "Frog", "Butterfly"}
    )
)
"""39 words that the published vocabulary holds whatever their frequency."""


def words_in(run: str) -> list[str]:
    """The words of a run of letters and digits.

    Example:
        >>> words_in("x86"), words_in("42nd"), words_in("1999")
        (['x', '86'], ['42', 'nd'], [])
    """
    if run.isalpha():
        return [run]
    found = []
    for kind, letters in groupby(run, key=lambda one: 0 if one.isalpha() else 1 if one in DIGITS else 2):
        word = "".join(letters)
        if kind == 0 or (kind == 1 and word in NUMBERS):
            found.append(word)
    return found
