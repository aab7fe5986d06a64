"""The page of a run: everything in one file, nothing can break out of its place, every state is told."""

import base64
import csv
import io
import json
import math
import subprocess
import sys
import textwrap
from html.parser import HTMLParser

import pytest

from report_figures import FIGURES, HOSTILE, figure, record, run_of, write_folder
from unweave.report.page import REPORT, csv_of, headline, render, shown, write_report
from unweave.report.record import Table


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self.open = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        place = self.open[-1] if self.open else ""
        if place == "script":
            self.scripts.append(data)
        elif place != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run, *records):
    return Page(render(run, list(records)))


def test_every_part_is_on_the_page():
    page = page_of(run_of("tiny", "other"), record(), record(model="other", title="Second", figures=(), tables=()))
    for words in (
        "Complete in 12 s.", "What was found", "tiny Which neurons carry which features One neuron reaches 0.63.",
        "other Second One neuron reaches 0.63.",
        "Tiny, 3 parameters. Text: corpus.txt.", "Which neurons carry which features", "Only 3 groups.", "Second",
        "Command: unweave study", "plan: 3 documents", "fingerprint abababababababab", "python 3.11", '"seed": 0',
    ):  # fmt: skip
        assert words in page.words
    for one in FIGURES.values():
        assert f"{one.title} {one.caption} n = 120, seed 7. CSV" in page.words
    assert len([one for one in page.all("div") if one.get("class") == "chart"]) == len(FIGURES)


@pytest.mark.parametrize(
    ("command", "title", "lead"),
    [
        ("unweave study --model zoo:docs", "unweave study", "Which units carry which features"),
        ("unweave evaluate run --suite ioi", "unweave evaluate", "What a representation is and does"),
        ("unweave superpose text a.txt", "unweave superpose", "How correlated features share"),
        ("unweave lib modadd --report out", "unweave lib", "Directions aligned with what the next layer uses"),
        ("unweave probe haystack --text a.txt", "unweave probe haystack", "How sparsely a model encodes"),
        ("", "unweave study", "Which units carry which features"),
    ],
)
def test_a_page_says_which_command_it_is_from(command, title, lead):
    source = render(run_of("tiny").model_copy(update={"command": command}), [record(figures=())])
    assert f"<title>{title}</title>" in source
    assert Page(source).words.startswith(f"{title} {title} {lead}")


def test_tables_show_values_as_people_read_them():
    rows = [("a", 1234, 0.25, 0.00001, 0.0, -3.5), (None, True, False, math.nan, "x", 2)]
    page = page_of(run_of("tiny"), record(tables=(Table(title="T", columns=tuple("abcdef"), rows=rows, note="note"),)))
    assert "a b c d e f a 1,234 0.250 1.0e-05 0.000 -3.500 – yes no – x 2" in page.words
    assert "T note" in page.words
    assert shown(-0.0005) == "-5.0e-04"


def test_it_is_one_file_without_links_to_others():
    source = render(run_of("tiny"), [record()])
    page = Page(source)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form")
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert len(source.encode()) < 5_000_000
    assert any("vegaEmbed" in script for script in page.scripts)


def test_a_page_without_figures_carries_no_script_to_draw_them():
    source = render(run_of("tiny"), [record(figures=())])
    assert len(source) < 20_000


def hostile_run():
    data = {"label": [HOSTILE, "b"], "value": [1, 2], "series": [HOSTILE, "s"]}
    bad = figure("bars", data, x=HOSTILE, series=HOSTILE).model_copy(update={"title": HOSTILE, "caption": HOSTILE})
    table = Table(title=HOSTILE, columns=(HOSTILE,), rows=[(HOSTILE,)], note=HOSTILE)
    one = record(model=HOSTILE, title=HOSTILE, summary=(HOSTILE,), warnings=(HOSTILE,), figures=(bad,), tables=(table,))
    run = run_of(
        HOSTILE, command=HOSTILE, config={"text": HOSTILE}, versions={HOSTILE: HOSTILE}, left_out={HOSTILE: HOSTILE},
        status="running", planned=("a", HOSTILE),
    )  # fmt: skip
    entry = run.models[0].model_copy(update={"description": HOSTILE, "text": HOSTILE, "plan": HOSTILE})
    return run.model_copy(update={"models": (entry,)}), one


def test_words_cannot_break_the_page():
    """Names, labels, captions and configuration with tags and quotes leave exactly the elements of a harmless run."""
    run, one = hostile_run()
    page = page_of(run, one)
    words = "harmless"

    def calm(value):
        if isinstance(value, dict):
            return {calm(key): calm(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [calm(item) for item in value]
        return words if value == HOSTILE else value

    plain = page_of(type(run)(**calm(run.model_dump())), type(one)(**calm(one.model_dump())))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert len(page.scripts) == len(plain.scripts)
    assert page.words.count(" ".join(HOSTILE.split())) == plain.words.count(words) - 1  # the configuration escapes more
    for attributes, harmless in zip(page.tags, plain.tags, strict=True):
        assert set(attributes[1]) == set(harmless[1])


def test_words_in_figures_arrive_as_they_are():
    """The drawing script reads the specification back with every sign in place."""
    run, one = hostile_run()
    (specification,) = [json.loads(script) for script in page_of(run, one).scripts if script.startswith("{")]
    assert specification["datasets"]["rows"][0] == {"label": HOSTILE, "value": 1, "series": HOSTILE}


def test_numbers_that_json_does_not_have_become_gaps():
    data = {"label": ["a", "b", "c"], "value": [math.nan, math.inf, 1.0]}
    page = page_of(run_of("tiny"), record(figures=(figure("bars", data),)))
    (specification,) = [json.loads(script) for script in page.scripts if script.startswith("{")]
    assert [row["value"] for row in specification["datasets"]["rows"]] == [None, None, 1.0]


def test_the_csv_link_holds_the_data():
    run, one = hostile_run()
    (link,) = [attributes for attributes in page_of(run, one).all("a") if "download" in attributes]
    head, body = link["href"].split(",", 1)
    assert head == "data:text/csv;base64"
    rows = list(csv.reader(io.StringIO(base64.b64decode(body).decode("utf-8"), newline="")))
    assert rows == [["label", "value", "series"], [HOSTILE, "1", HOSTILE], ["b", "2", "s"]]
    assert link["download"].endswith(".csv")
    assert not set(link["download"]) & set("/\\<>\"'")


@pytest.mark.parametrize("name", FIGURES)
def test_csv_has_a_line_a_row(name):
    data = FIGURES[name].data
    rows = list(csv.DictReader(io.StringIO(csv_of(FIGURES[name]))))
    for column, values in data.items():
        assert [row[column] for row in rows] == ["" if value is None else str(value) for value in values]


@pytest.mark.parametrize(
    ("status", "steps", "words", "pending"),
    [
        ("running", (), "Running: this page is written again after each step; reload it.", "Next: Activations"),
        ("running", ("collect",), "Running: ", "Next: Which neurons carry which features"),
        ("interrupted", ("collect",), "Interrupted: what is here is whole; the same command goes on from here.", None),
        ("failed", ("collect",), "Stopped by an error: what is here is whole.", None),
        ("complete", ("collect", "probe"), "Complete in 12 s.", None),
    ],
)
def test_every_state_of_a_run_is_told(status, steps, words, pending):
    page = page_of(run_of("tiny", status=status, steps=steps))
    assert words in page.words
    assert (f"Next: {pending}" if pending is None else pending) in page.words or pending is None
    assert ("Next:" in page.words) == (pending is not None)
    assert {"class": f"status {status}"} in page.all("p")


def test_models_that_were_left_out_are_told_with_the_reason():
    page = page_of(run_of("tiny", left_out={"minilm": "minilm is not installed: pip install x"}))
    assert "minilm was left out: minilm is not installed: pip install x" in page.words


def test_findings_stand_in_the_order_of_the_models():
    records = [record(model="b", summary=("B1.", "B2.")), record(model="a", summary=("A1.",))]
    assert headline(run_of("a", "b"), records) == [("a", [records[1]]), ("b", [records[0]])]
    words = page_of(run_of("a", "b"), *records).words
    assert [words.index(one) for one in ("A1.", "B1.", "B2.")] == sorted(
        words.index(one) for one in ("A1.", "B1.", "B2.")
    )


def test_every_finding_leads_to_its_section():
    page = page_of(
        run_of("a b", "c"), record(model="a b"), record(model="c", step="x y"), record(model="c", figures=())
    )
    ids = [one["id"] for one in page.all("section") if "id" in one]
    led = [one["href"].removeprefix("#") for one in page.all("a") if one.get("href", "").startswith("#")]
    assert {"a-b-probe", "c-x-y"} <= set(ids)
    assert set(led) <= set(ids)


def test_writing_makes_the_page_from_the_directory_alone(tmp_path):
    run, one = run_of("tiny"), record()
    folder = write_folder(tmp_path / "run", run, {"tiny": [one]})
    page = write_report(folder)
    assert page == folder / REPORT
    assert page.read_text(encoding="utf-8") == render(run, [one])
    before = page.read_bytes()
    assert write_report(folder).read_bytes() == before


def test_it_needs_no_torch_and_no_model(tmp_path):
    """A fresh interpreter in which torch, numpy, scikit-learn and transformers cannot be imported makes the page."""
    folder = write_folder(tmp_path / "run", run_of("tiny"), {"tiny": [record()]})
    script = textwrap.dedent("""
        import sys
        BLOCKED = {"torch", "transformers", "sklearn", "scipy", "safetensors"}
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in BLOCKED:
                    raise ImportError(f"{name} is blocked")
        sys.meta_path.insert(0, Blocker())
        from pathlib import Path
        from unweave.report.page import write_report
        print(write_report(Path(sys.argv[1])).stat().st_size)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100_000
