"""`unweave probe haystack`: the feature collections that the user's text allows, built, probed and reported."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from typing import Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet, Sites

HELP = """Build the feature collections that your text allows, probe each feature, write a report.

\b
    unweave probe haystack --model zoo:docs --conllu en_ewt-train.conllu.gz --out run
    unweave probe haystack --model zoo:docs --text corpus.jsonl --facts people.csv --latex papers --out run

Each input makes some of the ten collections possible: --text token strings and compound words, --conllu parts of
speech, morphology and dependency relations, --latex parts of formulas and papers, --facts (with --text) what is
known about people, --programming, --languages and --sources which one a document is in. Several --model are
compared by size: per feature, whether its neuron emerges, splits or stays. The same is done with random weights
beside each. A second run uses what is valid of the first.
"""


Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Model: zoo:docs, minilm, a directory, a Hugging Face name. Repeatable."),
]
Conllu = Annotated[
    list[str] | None,
    typer.Option("--conllu", help="Universal Dependencies: .conllu(.gz) or a directory. Repeatable."),
]
MixedText = Annotated[str | None, typer.Option("--text", help="Mixed text: .txt, .jsonl, .csv or a directory.")]
Compound = Annotated[str | None, typer.Option("--compound", help="Text for compound words, if it is not --text.")]
Latex = Annotated[str | None, typer.Option("--latex", help="LaTeX (.tex) or Markdown: a file or directory.")]
Facts = Annotated[
    str | None, typer.Option("--facts", help="Entities: .csv or .jsonl with name and properties; needs --text.")
]
Programming = Annotated[
    str | None, typer.Option("--programming", help="Source files in folders by language, or .jsonl.")
]
Languages = Annotated[
    str | None, typer.Option("--languages", help="Text in folders by language (en, fr, ...), or .jsonl.")
]
Sources = Annotated[
    str | None, typer.Option("--sources", help="Text in folders by source (wikipedia, arxiv, ...), or .jsonl.")
]
Collections = Annotated[
    str | None, typer.Option("--collections", help="Which ones, such as ewt_upos,latex; all possible if not given.")
]
Sizes = Annotated[str | None, typer.Option("--k", help="Numbers of units a probe may use, such as 1,2,4,8,16.")]
Rows = Annotated[int | None, typer.Option("--rows", help="Most rows a feature; as many as the paper if not given.")]
Shuffles = Annotated[int | None, typer.Option("--shuffles", help="Draws of the label-shuffle control.")]
NoRandomWeights = Annotated[
    bool, typer.Option("--no-random-weights", help="Leave out the same model with random weights.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of every random choice.")]


def haystack(
    model: Models = None,
    conllu: Conllu = None,
    text: MixedText = None,
    compound: Compound = None,
    latex: Latex = None,
    facts: Facts = None,
    programming: Programming = None,
    languages: Languages = None,
    sources: Sources = None,
    collections: Collections = None,
    site: Sites = None,
    k: Sizes = None,
    rows: Rows = None,
    shuffles: Shuffles = None,
    no_random_weights: NoRandomWeights = False,
    out: Out = None,
    seed: Seed = None,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.cli.numbers import numbers, without_nan
    from unweave.cli.progress import listener
    from unweave.config import config_from
    from unweave.study.haystack.config import HaystackConfig
    from unweave.study.haystack.planning import plan_haystack
    from unweave.study.haystack.run import run_haystack

    inputs = {
        "conllu": conllu, "text": text, "compound": compound, "latex": latex, "facts": facts,
        "programming": programming, "languages": languages, "sources": sources,
    }  # fmt: skip
    given = {
        "models": model,
        "inputs": _given(inputs),
        "collections": collections.split(",") if collections else None,
        "sites": site,
        "ks": numbers(k),
        "rows": rows,
        "shuffles": shuffles,
        "random_weights": False if no_random_weights else None,
        "seed": seed,
    }
    config = config_from(HaystackConfig, _given(given), source="options")
    if dry_run:
        plans = plan_haystack(config)
        typer.echo(jsonlib.dumps({"plans": plans}) if json else "\n".join(_line(plan) for plan in plans))
        return
    command = shlex.join(["unweave", *sys.argv[1:]])
    result = run_haystack(config, out, command=command, progress=listener(quiet=quiet))
    if json:
        typer.echo(jsonlib.dumps(without_nan(result.summary())))
        return
    for record in result.records:
        for sentence in (*record.summary, *record.warnings):
            typer.echo(f"{record.model}: {record.step}: {sentence}")
    typer.echo(f"report: {result.report}  ({result.seconds:.0f} s)")


haystack.__doc__ = HELP


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _line(plan: dict[str, Any]) -> str:
    """A plan for a person."""
    left_out = f", {len(plan['skipped'])} left out" if plan["skipped"] else ""
    cost = (
        f"; {plan['rows']:,} rows, {plan['bytes'] / 1e6:,.1f} MB, about {plan['seconds']:,.0f} s"
        if "rows" in plan
        else ""
    )
    return f"{plan['model']}: {plan['collection']}: {plan['features']} features{left_out}{cost}"
