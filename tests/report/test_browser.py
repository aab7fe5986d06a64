"""The page in a real browser without a network: figures draw, drop-downs act, words stay words."""

import shutil

import pytest

from report_figures import FIGURES, HOSTILE, figure, record, run_of, write_folder
from unweave.report.page import write_report


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium (tests/SKIPS.md)."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium: the report is not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """A page with what went wrong and what was asked for while it was loaded."""

    def __init__(self, browser, file):
        self.faults, self.requests = [], []
        context = browser.new_context(offline=True)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_function(
            "[...document.querySelectorAll('.chart')].every(one => one.querySelector('svg') || one.innerText)"
        )

    def chart(self, number):
        return self.page.locator(".chart").nth(number)

    def marks(self, number, kind="path"):
        return self.chart(number).locator(f"svg .role-mark:not(.mark-group) {kind}").count()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_report(write_folder(tmp_path_factory.mktemp("browser") / "run", run_of("tiny"), {"tiny": [record()]}))


@pytest.fixture(scope="module")
def opened(browser, file):
    return Opened(browser, file)


def test_every_figure_draws_all_its_rows(opened):
    # area and line are one path each, a row of points one each; the drop-down shows half of the rows
    expected = {
        "curves": {"path": 1 + 1 + 3},
        "curves in panels": {"path": 2 * (1 + 1 + 2 + 1)},
        "heatmap": {"path": 3, "text": 3},
        "forest": {"path": 4, "line": 4 + 1},
        "bars": {"path": 2, "text": 2},
        "bars in series": {"path": 2, "text": 2},
        "histogram": {"path": 4},
        "graph": {"path": 2, "line": 1},
        "points": {"path": 1 + 2 + 3, "text": 2},  # the diagonal, a line a series, the points
        "space": {"path": 2, "text": 1},
        "steps": {"path": 2, "line": 1},
    }
    assert opened.page.locator(".chart svg").count() >= len(FIGURES)
    for number, name in enumerate(FIGURES):
        for kind, count in expected[name].items():
            assert opened.marks(number, kind) == count, (name, kind)


def test_nothing_goes_wrong_and_nothing_is_fetched(opened):
    assert opened.faults == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert not opened.page.get_by_text("could not be drawn").count()


def test_a_logarithmic_axis_shows_numbers_in_full(opened):
    number = list(FIGURES).index("bars")
    labels = opened.chart(number).locator("svg .role-axis-label text").all_text_contents()
    assert {"0", "1", "10", "100", "1,000"} <= set(labels)


def test_the_drop_down_changes_the_figure(browser, file):
    opened = Opened(browser, file)
    number = list(FIGURES).index("heatmap")
    select = opened.chart(number).locator("select")
    assert select.locator("option").all_inner_texts() == ["k = 1", "k = 2"]
    cells = opened.chart(number).locator("svg .mark-text.role-mark text")
    assert sorted(cells.all_text_contents()) == ["0.10", "0.30", "0.90"]
    select.select_option("k = 2")
    cells.nth(3).wait_for()
    assert sorted(cells.all_text_contents()) == ["0.50", "0.60", "0.70", "0.80"]


def test_one_broken_figure_does_not_stop_the_others(browser, tmp_path):
    folder = write_folder(tmp_path / "run", run_of("tiny"), {"tiny": [record()]})
    file = write_report(folder)
    source = file.read_text(encoding="utf-8")
    start = source.index('<script type="application/json">') + len('<script type="application/json">')
    file.write_text(source[:start] + "not JSON" + source[start:], encoding="utf-8")
    opened = Opened(browser, file)
    assert "This figure could not be drawn" in opened.chart(0).inner_text()
    assert opened.marks(2) > 0


def test_hostile_words_are_shown_as_words(browser, tmp_path):
    data = {"label": [HOSTILE, "b"], "value": [10, 20], "series": [HOSTILE, "s"]}
    bad = figure("bars", data, x=HOSTILE, series=HOSTILE).model_copy(update={"title": HOSTILE, "caption": HOSTILE})
    one = record(model=HOSTILE, title=HOSTILE, summary=(HOSTILE,), figures=(bad,))
    opened = Opened(browser, write_report(write_folder(tmp_path / "run", run_of(HOSTILE), {HOSTILE: [one]})))
    assert opened.faults == []
    assert opened.marks(0) == 2
    assert opened.page.locator("h3", has_text="</script>").inner_text() == " ".join(HOSTILE.split())
    opened.chart(0).locator("svg .mark-rect.role-mark path").first.hover()
    tooltip = opened.page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    assert "</script><b>bold</b>" in tooltip.inner_text()
    assert tooltip.locator("b").count() == 0
