"""Where the parts of LaTeX are: nesting, escapes, both dialects, and real sources."""

import tarfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import EXAMPLES
from unweave.activations.haystack.latex_spans import CUTS, KINDS, group_end, latex_spans


def parts(text, dialect="pandoc"):
    found = latex_spans(text, dialect)
    assert found.problem == ""
    return {kind: [text[a:b] for a, b in spans] for kind, spans in found.spans.items() if spans}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$x$", {"inline": ["x"], "start": ["$"], "end": ["$"]}),  # the reference drops the last character of a span
        ("$$x$$", {"display": ["x"], "start": ["$$"], "end": ["$$"]}),
        (r"\frac{a_{1}}{b}", {"numerator": ["a_{1}"], "denominator": ["b"], "subscript": ["1"]}),
        (r"\frac{\frac{a}{b}}{c}", {"numerator": ["\\frac{a}{b}", "a"], "denominator": ["b", "c"]}),
        (r"\dfrac {a} {b}", {"numerator": ["a"], "denominator": ["b"]}),
        (r"\frac12 \fraction{a}{b}", {}),
        (r"\$5 and \$6", {}),
        (r"\$ $a\$b$", {"inline": [r"a\$b"], "start": ["$"], "end": ["$"]}),
        (r"\\$a$", {"inline": ["a"], "start": ["$"], "end": ["$"]}),
        (r"x^{a_{b}} \_{c} y_d", {"superscript": ["a_{b}"], "subscript": ["b"]}),
        (r"$\{y\}_{\}}$", {"inline": [r"\{y\}_{\}}"], "subscript": [r"\}"], "start": ["$"], "end": ["$"]}),
        ("as in [@smith99; @doe] and [@]", {"reference": ["@smith99; @doe", "@"]}),
        ("x_{open", {}),
        ("", {}),
    ],
)
def test_pandoc(text, wanted):
    assert parts(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"\(z\) \[w\]", {"inline": ["z"], "display": ["w"], "start": [r"\(", r"\["], "end": [r"\)", r"\]"]}),
        (r"\begin{align*}a\end{align*}", {"display": ["a"], "start": [r"\begin{align*}"], "end": [r"\end{align*}"]}),
        (r"\begin{equation}a $b$ \end{equation}",
         {"display": ["a $b$ "], "start": [r"\begin{equation}"], "end": [r"\end{equation}"]}),
        (r"\begin{itemize}a\end{itemize}", {}),
        (r"\\[2pt] a \\(b)", {}),
        ("% $ alone\n$x$ 5\\% $y$", {"inline": ["x", "y"], "start": ["$"] * 2, "end": ["$"] * 2}),
        (r"\cite{a,b} \citep[p.~2]{c} \citet*{d} \excite{e}", {"reference": ["a,b", "c", "d", "e"]}),
        (r"\title{A {nested} one} \author[x]{B} \begin{abstract} C \end{abstract}",
         {"title": ["A {nested} one"], "author": ["B"], "abstract": ["C "]}),
    ],
)  # fmt: skip
def test_native(text, wanted):
    assert parts(text, "native") == wanted


def test_comments_count_only_natively():
    assert latex_spans("% $\n$x$").problem == "an odd number of dollar signs"
    assert latex_spans("% $\n$x$", "native").problem == ""


@pytest.mark.parametrize("text", ["$", "a $b$ $", "$$ x $", r"\$$"])
def test_odd_dollars_are_a_problem(text):
    assert latex_spans(text).problem == "an odd number of dollar signs"


def test_front_matter():
    head = "---\ntitle: A *b*\nauthor:\n- X Y\n- Z\nabstract: |\n  Hello there\n  and more\nother: no\n---\n"
    text = head + "# title: not this\n"
    assert parts(text) == {"title": ["A *b*"], "author": ["- X Y\n- Z"], "abstract": ["Hello there\n  and more"]}
    assert parts("title: no front matter") == {}


@pytest.mark.parametrize("name", CUTS)
def test_long_parts_are_cut(name):
    most, least = CUTS[name]
    for length, wanted in ((most, most), (most + 1, least)):
        assert [len(one) for one in parts(f"---\n{name}: {'x' * length}\n---\n")[name]] == [wanted]


def end_by_counting(text, start):
    """Twin: escaped characters blanked out, then the depth character by character."""
    plain, place = list(text), 0
    while place < len(text):
        if text[place] == "\\":
            plain[place : place + 2] = "." * len(plain[place : place + 2])
            place += 2
        else:
            place += 1
    depth = 0
    for number in range(start, len(plain)):
        depth += {"{": 1, "}": -1}.get(plain[number], 0)
        if depth == 0:
            return number + 1
    return None


@EXAMPLES
@given(st.text("{}\\a", max_size=20))
def test_groups_end_where_counting_says(text):
    assert group_end("{" + text, 0) == end_by_counting("{" + text, 0)


@EXAMPLES
@given(st.text("${}\\_^[@]fa \n", max_size=40), st.sampled_from(["pandoc", "native"]))
def test_any_text_has_spans_inside_it(text, dialect):
    found = latex_spans(text, dialect)
    assert set(found.spans) == (set() if found.problem else set(KINDS))
    for spans in found.spans.values():
        assert all(0 <= a < b <= len(text) for a, b in spans)
    formulas = sorted(found.spans.get("inline", ()) + found.spans.get("display", ()))
    assert all(one[1] < other[0] for one, other in pairwise(formulas))


def test_a_real_book_in_native_latex(data):
    count = dict.fromkeys(KINDS, 0)
    problems = 0
    with tarfile.open(data / "text" / "corpora" / "hott_book_latex.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".tex"):
                text = archive.extractfile(member).read().decode("utf-8", "replace")
                found = latex_spans(text, "native")
                problems += bool(found.problem)
                for kind, spans in found.spans.items():
                    count[kind] += len(spans)
    assert problems <= 2
    assert count["inline"] > 10_000
    assert count["display"] > 500
    assert count["subscript"] > 1000
    assert count["start"] == count["end"] == count["inline"] + count["display"]
