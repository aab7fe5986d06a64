"""`unweave compare`: decompositions of one site side by side."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet

if TYPE_CHECKING:
    from unweave.models.model import Model

HELP = """Compare decompositions of one site: what each causes at equal dimension, beside the search it had.

\b
    unweave compare partition/featurizer pca ica random topk --model gpt2 --suite ioi --test duplicate
    unweave compare pca random --model zoo:docs --pairs pairs.jsonl --site blocks.2.resid_post --concept texts.jsonl

Names are made from the activations of the pairs: neurons, pca, ica, random, topk (a small dictionary trained on them)
and topk-frozen (its twin with a random decoder). Everything else is a directory that a command wrote (a featurizer, an
NDM partition, LIB bases, a bundle, directions), a dictionary of SAELens or sparsify, or a GGUF control vector.
"""


Concept = Annotated[
    Path | None,
    typer.Option("--concept", help="jsonl of contrast pairs or labelled texts: absorption and bits a label."),
]
Dimension = Annotated[
    int | None,
    typer.Option("--dimension", "-k", help="Dimensions each may exchange; else those of the largest best block."),
]
Budget = Annotated[int | None, typer.Option("--budget", help="Blocks that each may choose from; else all it has.")]


def compare(
    decompositions: Annotated[list[str], typer.Argument(help="Directories of featurizers, or names of usual ones.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model directory, Hugging Face name or zoo:NAME.")],
    site: Annotated[
        str | None, typer.Option("--site", "-s", help="Site; not needed where an artifact names it.")
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="ioi.")] = "ioi",
    test: Annotated[str | None, typer.Option("--test", help="Test of the suite; else its last one.")] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Instead of a suite: jsonl with base, source, answer, base_answer.")
    ] = None,
    concept: Concept = None,
    dimension: Dimension = None,
    budget: Budget = None,
    prompts: Annotated[int, typer.Option("--prompts", help="Prompts of the suite.")] = 400,
    out: Out = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split, controls and made decompositions.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.activations.concepts import read_records
    from unweave.artifact import save
    from unweave.cli.featurizers import featurizer_at
    from unweave.cli.numbers import without_nan
    from unweave.cli.plans import contest_cost, tell
    from unweave.evals.comparing import compare as contest
    from unweave.evals.contenders import MADE
    from unweave.evals.layer_study import labelled_rows
    from unweave.models.loading import load_model

    _check(decompositions, {"--dimension": dimension, "--budget": budget, "--prompts": prompts})
    records = None if concept is None else read_records(concept)
    loaded = load_model(model)
    stored = {name: featurizer_at(Path(name), site) for name in decompositions if name not in MADE}
    where = site or _site_of(stored)
    task = _task(loaded, suite, test, pairs, prompts, seed)
    names = list(dict.fromkeys(decompositions))
    options = {
        "concept": None if records is None else labelled_rows(loaded, records, where),
        "dimension": dimension, "budget": budget, "seed": seed,
    }  # fmt: skip

    def run(pairs: Any) -> Any:
        return contest(loaded, _contenders(loaded, names, stored, where, pairs, seed), pairs, **options)

    if dry_run:
        what = {"decompositions": names, "site": where, "pairs": len(task)}
        line = f"{len(names)} decompositions of {where}, {len(task)} pairs"
        tell(what, line, contest_cost(task, run), as_json=json)
        return
    found = run(task)
    if out is not None:
        save(found, out)
    if json:
        typer.echo(jsonlib.dumps(without_nan(_facts(found, loaded))))
    else:
        _show(found)


compare.__doc__ = HELP


def _check(decompositions: list[str], counts: dict[str, int | None]) -> None:
    """Raises for what can be told before anything is loaded."""
    from unweave.errors import InputError, unknown_name
    from unweave.evals.contenders import MADE

    for option, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}: at least 1")
    for name in decompositions:
        if name not in MADE and not Path(name).exists():
            raise unknown_name("decomposition", name, MADE, hint="everything else is a directory or file that is there")


def _site_of(stored: dict[str, Any]) -> str:
    from unweave.errors import InputError

    if not stored:
        raise InputError("no site was given: --site, or a directory of a featurizer that names one")
    return str(next(iter(stored.values())).site)


def _contenders(
    loaded: Model, names: list[str], stored: dict[str, Any], site: str, pairs: Any, seed: int
) -> dict[str, Any]:
    """The decompositions in the order they were named; those that are made here, from the rows of the pairs."""
    from unweave.evals.causing.patching import patching
    from unweave.evals.contenders import MADE, contenders_of

    rows = patching(loaded, site, pairs.base, positions=pairs.positions).base
    wanted = [name for name in names if name in MADE]
    made = contenders_of(rows, site=site, names=wanted, model=loaded.fingerprint, seed=seed)
    return {name: stored.get(name) or made[name] for name in names}


def _facts(found: Any, loaded: Model) -> dict[str, Any]:
    plain = ("site", "dimension", "budget", "whole", "kept_share", "n_select", "n_report")
    return {"model": loaded.name, **{name: getattr(found, name) for name in plain}, "rows": found.table()}


def _task(loaded: Model, suite: str, test: str | None, pairs: Path | None, prompts: int, seed: int) -> Any:
    from unweave.errors import unknown_name
    from unweave.evals.suites.files import read_pairs
    from unweave.evals.suites.running import suite_tests

    if pairs is not None:
        return read_pairs(loaded, pairs)
    tests = {one.name: one for one in suite_tests(loaded, suite, count=prompts, seed=seed)}
    name = test or list(tests)[-1]
    if name not in tests:
        raise unknown_name("test", name, tests)
    return tests[name].pairs()


def _show(found: Any) -> None:
    from unweave.cli.tables import show

    rows = [
        [
            row["name"],
            str(row["dimension"]),
            str(row["candidates"]),
            f"{row['share']:.3f}",
            f"{row['effect']:.3g}",
            f"{row['control']:.3g}",
            f"{row['unexplained']:.3f}",
            row["verdict"],
        ]
        for row in found.table()
    ]
    columns = ["decomposition", "dim", "candidates", "share", "effect", "control", "unexplained", "verdict"]
    if found.contenders and found.contenders[0].concept:
        columns += ["absorbed", "bits a label", "bits a row"]
        rows = [
            [*shown, f"{row['absorbed']:.3f}", f"{row['bits']:.3f}", f"{row['row_bits']:.1f}"]
            for shown, row in zip(rows, found.table(), strict=True)
        ]
    show(f"{found.site}: share of the whole site's effect, {found.n_report} held-out pairs", columns, rows)
