"""`unweave superpose ...`: how correlated features share space."""

from __future__ import annotations

import json as jsonlib
import math
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet

HELP = """How correlated features share space: models of a text's bags of words, or of worlds whose truth is known.

\b
    unweave superpose text corpus.txt --width 200 --decay 0,1,4 --out lab
    unweave superpose synthetic --world circular --width 2:12
    unweave superpose explain lab June "sun and sea in May"
"""
TEXT_HELP = """Models of the bags of words of a text, beside the closed form, with every word's scores and a report.

\b
    unweave superpose text corpus.txt --width 200 --decay 0,1,4 --out lab

The lines of a text are its units; words of neighbouring units make a bag. Decay is AdamW's, which is no L2 penalty
(--l2). Two seeds or more (--seeds 0,1,2) give slopes over decay and width with intervals.
"""
SYNTHETIC_HELP = """Models of a world whose geometry is known, over widths, decays and densities.

\b
    unweave superpose synthetic --world circular --width 2:12 --base 0,-2,-5
"""
EXPLAIN_HELP = """What adds up to one word in a context you type: bias, own weight, and each other word of the context.

\b
    unweave superpose explain lab June "sun and sea in May"
"""
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds of the models, such as 0,1,2.")]

superpose = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


def text(
    files: Annotated[list[Path], typer.Argument(help="Text files (.txt, .jsonl, .csv, .json) or directories.")],
    width: Annotated[str, typer.Option("--width", "-w", help="Dimensions, such as 50,100 or 2:12.")] = "50",
    decay: Annotated[str, typer.Option("--decay", help="Weight decays of AdamW, such as 0,1,4.")] = "0,1",
    vocab: Annotated[int, typer.Option("--vocab", help="Most words.")] = 4000,
    window: Annotated[int, typer.Option("--window", help="Units whose words make one bag.")] = 20,
    l2: Annotated[float, typer.Option("--l2", help="L2 penalty in the loss.")] = 0.0,
    activation: Annotated[str, typer.Option("--activation", help="relu, linear or sigmoid.")] = "relu",
    seeds: Seeds = "0",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Times through the windows.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate at the start.")] = None,
    batch: Annotated[int, typer.Option("--batch", help="Windows a step.")] = 512,
    force_words: Annotated[
        str | None, typer.Option("--force-words", help="Words, or groups such as months, that enter the vocabulary.")
    ] = None,
    documents: Annotated[
        str, typer.Option("--documents", help="auto, each, stream, or a regular expression of first lines.")
    ] = "auto",
    min_chars: Annotated[int | None, typer.Option("--min-chars", help="Drop shorter units.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="paper: the published settings of bags.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="CSV of word,label that clusters are scored with.")
    ] = None,
    out: Out = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split and of every null.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by TEXT_HELP."""
    from unweave.cli.plans import tell, text_lab_cost
    from unweave.cli.progress import listener
    from unweave.config import config_from
    from unweave.study.superposition.config import TextLabConfig
    from unweave.study.superposition.lab import plan_text, text_lab
    from unweave.study.superposition.run import lab_directory, write_text_lab
    from unweave.superposition.clusters import lexicon as read_lexicon

    given = {
        "vocab": vocab, "window": window, "widths": whole_numbers("--width", width, 1),
        "decays": reals("--decay", decay), "seeds": whole_numbers("--seeds", seeds), "l2": l2,
        "activation": activation, "epochs": epochs, "lr": lr, "batch": batch, "documents": documents,
        "force": _forced(force_words), "profile": profile, "min_chars": min_chars, "seed": seed,
    }  # fmt: skip
    config = config_from(TextLabConfig, given, source="options")
    labels = None if lexicon is None else read_lexicon(lexicon)
    source = _source(files)
    progress = listener(quiet=quiet)
    if dry_run:
        told = plan_text(source(), config)
        tell(told, _line(told), text_lab_cost(source, config, told), as_json=json)
        return
    start = time.perf_counter()
    folder = lab_directory(out, config)
    lab = text_lab(source(), config, progress, labels=labels)
    report = write_text_lab(lab, folder, shlex.join(["unweave", *sys.argv[1:]]))
    if json:
        _as_json(lab.facts(), report, start)
        return
    _show(lab.facts()["models"])
    typer.echo("\n".join([*(f"warning: {warning}" for warning in lab.bags.warnings), f"report: {report}"]))


def synthetic(
    world: Annotated[
        str, typer.Option("--world", help="circular, figure8, sphere, independent, block, ...")
    ] = "circular",
    width: Annotated[str, typer.Option("--width", "-w", help="Dimensions, such as 2,4,6 or 2:12.")] = "2:12",
    decay: Annotated[str, typer.Option("--decay", help="Weight decays of AdamW.")] = "1",
    features: Annotated[int, typer.Option("--features", help="Features of the world.")] = 12,
    rows: Annotated[int, typer.Option("--rows", help="Rows of the world.")] = 10_000,
    sharpness: Annotated[
        float, typer.Option("--sharpness", help="How sharply features are on near their place.")
    ] = 10.0,
    base: Annotated[str, typer.Option("--base", help="Lower is sparser, such as 0,-2,-5.")] = "0",
    noise: Annotated[float, typer.Option("--noise", help="Spread of places about the curve.")] = 0.0,
    density: Annotated[float | None, typer.Option("--density", help="Mean share of active features.")] = None,
    correlation: Annotated[float, typer.Option("--correlation", help="Within blocks, or of child and parent.")] = 0.5,
    groups: Annotated[int, typer.Option("--groups", help="Blocks, or features that exclude one another.")] = 3,
    activation: Annotated[str, typer.Option("--activation", help="relu or linear.")] = "relu",
    steps: Annotated[int, typer.Option("--steps", help="Of AdamW.")] = 3000,
    seeds: Seeds = "0",
    out: Out = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the world.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by SYNTHETIC_HELP."""
    from unweave.cli.plans import tell, world_lab_cost
    from unweave.cli.progress import listener
    from unweave.config import config_from
    from unweave.study.superposition.run import lab_directory, write_table, write_world_lab
    from unweave.study.superposition.worlds import WorldLabConfig, plan_world, world_lab

    given = {
        "world": world, "widths": whole_numbers("--width", width, 1), "decays": reals("--decay", decay),
        "features": features, "rows": rows, "sharpness": sharpness, "bases": reals("--base", base), "noise": noise,
        "density": density, "correlation": correlation, "groups": groups, "activation": activation, "steps": steps,
        "seeds": whole_numbers("--seeds", seeds), "seed": seed,
    }  # fmt: skip
    config = config_from(WorldLabConfig, given, source="options")
    if dry_run:
        told = plan_world(config)
        tell(told, _line(told), world_lab_cost(config, told), as_json=json)
        return
    start = time.perf_counter()
    folder = lab_directory(out, config)
    lab = world_lab(config, listener(quiet=quiet))
    report = write_world_lab(lab, folder, shlex.join(["unweave", *sys.argv[1:]]))
    write_table(folder / "models.csv", lab.rows)
    if json:
        _as_json(lab.facts(), report, start)
        return
    _show_worlds(lab.rows)
    typer.echo(f"report: {report}")


def explain(
    lab: Annotated[Path, typer.Argument(help="Directory of `unweave superpose text`.")],
    word: Annotated[str, typer.Argument(help="The word that is explained.")],
    context: Annotated[str, typer.Argument(help="Text that it stands in; whether the word is in it counts.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Which model, such as decay-4-width-50; the last one by default.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by EXPLAIN_HELP."""
    from unweave.artifact import load
    from unweave.cli.numbers import without_nan
    from unweave.cli.tables import show
    from unweave.study.superposition.run import trained_model
    from unweave.superposition.waterfall import explain as waterfall

    place = trained_model(lab, model)
    found = waterfall(load(place), word, context)
    if json:
        facts = {
            "model": place.name, "word": word, "is_there": found.is_there, "bias": found.bias, "own": found.own,
            "parts": [list(part) for part in found.parts], "total": found.total, "output": found.output,
            "one_hot": found.one_hot, "unknown": list(found.unknown),
        }  # fmt: skip
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    rows = [[row["label"], f"{row['value']:+.4f}", f"{row['end']:.4f}"] for row in found.table()]
    show(f"{word!r} in {place.name}", ("what adds", "adds", "sum so far"), rows)
    typer.echo(f"reconstructed {found.output:.4f}; the word alone would sum to {found.one_hot:.4f}")
    if found.unknown and not quiet:
        typer.echo(f"not in the vocabulary: {', '.join(found.unknown)}")


text.__doc__ = TEXT_HELP
explain.__doc__ = EXPLAIN_HELP
synthetic.__doc__ = SYNTHETIC_HELP
superpose.command("text")(text)
superpose.command("synthetic")(synthetic)
superpose.command("explain")(explain)


def _as_json(facts: dict[str, Any], report: Path, start: float) -> None:
    from unweave.cli.numbers import without_nan

    more = {"report": str(report), "out": str(report.parent), "seconds": round(time.perf_counter() - start, 3)}
    typer.echo(jsonlib.dumps(without_nan(facts | more)))


def whole_numbers(option: str, given: str, least: int = -(2**31)) -> tuple[int, ...]:
    """The numbers of `2,4,6` or `2:12`, none below the least.

    Raises:
        InputError: Something else.
    """
    from unweave.errors import InputError

    found: tuple[int, ...] = ()
    with suppress(ValueError):
        if ":" in given:
            low, high = (int(part) for part in given.split(":"))
            found = tuple(range(low, high + 1))
        else:
            found = tuple(int(part) for part in given.split(","))
    if not found or min(found) < least:
        bound = f" from {least} up" if least > 0 else ""
        raise InputError(f"{option} is {given!r}: numbers{bound} such as 50,100 or a range such as 2:12 are needed")
    return found


def reals(option: str, given: str) -> tuple[float, ...]:
    """The numbers of `0,1,4`.

    Raises:
        InputError: Something else.
    """
    from unweave.errors import InputError

    found: tuple[float, ...] = ()
    with suppress(ValueError):
        found = tuple(float(part) for part in given.split(","))
    if not found or not all(map(math.isfinite, found)):
        raise InputError(f"{option} is {given!r}: numbers with commas between them are needed, such as 0,1,4")
    return found


def _forced(given: str | None) -> tuple[str, ...]:
    from unweave.superposition.words import GROUPS

    names = [part.strip() for part in (given or "").split(",") if part.strip()]
    return tuple(word for name in names for word in GROUPS.get(name, (name,)))


def _source(files: list[Path]) -> Any:
    """What gives the texts of all files, each time anew."""
    from unweave.errors import InputError
    from unweave.superposition.reading import texts_of

    missing = [file for file in files if not file.exists()]
    if missing:
        raise InputError(f"no text file at {missing[0]}: give one that exists")
    return lambda: files[0] if len(files) == 1 else (text for file in files for text in texts_of(file))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show(models: list[dict[str, Any]]) -> None:
    from unweave.cli.tables import show

    rows = [
        [
            "closed form" if row["seed"] is None else f"decay {row['decay']:g}", str(row["width"]),
            "" if row["seed"] is None else str(row["seed"]), f"{row['train_mse']:.5f}", f"{row['mse']:.5f}",
            f"{row['r2']:.3f}", f"{row['norm2']:.1f}", f"{row['scores']['lift']:.3f}",
            *map(str, row["regimes"].values()),
        ]
        for row in models
    ]  # fmt: skip
    columns = [
        "model",
        "width",
        "seed",
        "train",
        "held out",
        "R2",
        "norm^2",
        "lift",
        "linear",
        "nonlinear",
        "unresolved",
        "constant",
    ]
    show("Squared error a word; regimes are counts of words", columns, rows)


def _show_worlds(rows: list[dict[str, Any]]) -> None:
    from unweave.cli.tables import show

    dials = (
        "width",
        "decay",
        "base",
        "density",
        "mse",
        "bound",
        "norm2",
        "rho",
        "neighbour",
        "opposite",
        "least",
        "regime",
    )
    kept = [name for name in dials if name in rows[0]]
    show("Models", kept, [[_cell(row[name]) for name in kept] for row in rows])


def _line(told: dict[str, Any]) -> str:
    """What the work is; the cost stands behind it."""
    return ", ".join(f"{name} {value:,}" for name, value in told.items() if name not in ("bytes", "seconds"))
