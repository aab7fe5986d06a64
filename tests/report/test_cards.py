"""Cards on the page: everything that is in them is shown, nothing in them can break out."""

import re

from report_figures import CARD, HOSTILE, record, run_of
from unweave.report.page import render


def page():
    return render(run_of("tiny"), [record(figures=(), tables=(), cards=(CARD,))])


def test_a_card_shows_its_words_figures_tables_and_texts():
    html = page()
    assert html.count('<article class="card">') == 1
    assert "Alone it tells the label." in html
    assert "Its weights" in html
    assert "Where it is most active (1)" in html
    assert html.count('<script type="application/json">') == 1
    assert "vegaEmbed" in html  # the figure of a card alone brings the script that draws it


def test_pieces_are_shaded_by_sign_and_the_focus_is_framed():
    passage = re.search(r'<p class="passage">(.*?)</p>', page(), flags=re.DOTALL)[1]
    pieces = re.findall(r"<span([^>]*)>", passage)
    assert len(pieces) == 3
    assert "rgba(0, 114, 178, 0.30)" in pieces[0]
    assert "rgba(213, 94, 0, 0.60)" in pieces[1]
    assert 'class="focus"' in pieces[1]
    assert "background" not in pieces[2]
    assert [re.search(r'title="([^"]*)"', one)[1] for one in pieces] == ["0.5", "-1", "0"]


def test_texts_cannot_break_out():
    html = page()
    assert HOSTILE not in html.replace("\\u003c", "<") or "</script><b>bold" not in html
    assert "&lt;/script&gt;&lt;b&gt;bold" in html


def test_a_step_of_cards_alone_has_a_section():
    html = render(run_of("tiny"), [record(figures=(), tables=(), warnings=(), cards=(CARD,))])
    assert "Which neurons carry which features</h3>" in html
