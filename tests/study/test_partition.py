"""The step that parts the residual stream: what it leaves, on a small text."""

from __future__ import annotations

import json

import pytest

from unweave.activations.collect import resolve_sites
from unweave.log import SILENT
from unweave.report.charts import specification
from unweave.study.config import StudyConfig
from unweave.study.steps.partition import part_space
from unweave.study.texts import study_text
from unweave.study.work import NotPossible, Work


@pytest.fixture
def work(docs, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Order {n} of {2 * n} pieces arrived in May, said Bob." for n in range(40)))
    sites = tuple(point.site for point in resolve_sites(docs, ["blocks.1.mlp_act"]))
    return Work(
        config=StudyConfig(models=("zoo:docs",), text=str(text)), model=docs, text=study_text(str(text), ""),
        folder=tmp_path / "run", sites=sites, progress=SILENT,
    )  # fmt: skip


def test_the_residual_stream_is_parted_and_can_be_read(work) -> None:
    found = part_space(work)
    assert found.results["site"] == "blocks.1.resid_post"
    assert sum(found.results["partition"]) == 192
    assert found.results["distance"] < found.results["random_distance"]
    assert [figure.kind for figure in found.figures] == ["bars", "heatmap"]
    for figure in found.figures:
        specification(figure)
    assert len(found.cards) == len(found.results["partition"])
    assert all(group.rows[0].pieces for card in found.cards for group in card.passages)
    json.dumps(dict(found.results), allow_nan=True)
    again = part_space(work)
    assert json.dumps(dict(again.results)) == json.dumps(dict(found.results))


def test_too_little_text_is_said(work) -> None:
    short = study_text(work.config.text, "")
    object.__setattr__(short, "texts", short.texts[:2])
    work.text = short
    with pytest.raises(NotPossible, match="tokens are too few"):
        part_space(work)
