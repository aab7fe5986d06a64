"""`unweave doctor`: what is installed here, and whether a model's sites mean what they say."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, Json

if TYPE_CHECKING:
    from unweave.models.model import Model

HELP = """Look over the installation, or over a model: its sites, and the laws that they must obey.

\b
    unweave doctor
    unweave doctor --model zoo:docs

With --model: every site with shape and dtype, four laws on a random batch, and the output on every other
device that torch sees. A model of an unknown family gets a proposal of a row to paste, which is never
applied by itself. Exit code 2 if a law does not hold.
"""


def doctor(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model: zoo:docs, minilm, a directory, a Hugging Face name.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, float16, bfloat16, float64 or auto, of the model.")
    ] = "float32",
    device: Annotated[
        str | None, typer.Option("--device", help="Compare with this device; all that torch sees if not given.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.cli.environment import facts
    from unweave.errors import InputError

    if device is not None and model is None:
        raise InputError("--device compares the output of a model there: give --model")
    found = facts()
    if model is not None:
        found["model"] = model_facts(model, dtype=dtype, device=device)
    if json:
        typer.echo(jsonlib.dumps(found))
    else:
        _say_environment(found)
        if model is not None:
            _say_model(found["model"])
    if model is not None and not found["model"]["healthy"]:
        raise InputError(f"{model} is not healthy: {found['model']['verdict']}")


def model_facts(source: str, *, dtype: str, device: str | None) -> dict[str, Any]:
    """Sites, laws and devices of a model, as plain values; a proposal for one of an unknown family."""
    from unweave.models.loading import load_model

    loaded = load_model(source, dtype=dtype)
    known = {
        "name": loaded.name,
        "class": type(loaded.module).__name__,
        "model_type": getattr(getattr(loaded.module, "config", None), "model_type", None),
        "family": None if loaded.family is None else list(loaded.family.model_types),
        "parameters": sum(parameter.numel() for parameter in loaded.module.parameters()),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "has_tokenizer": loaded.tokenizer is not None,
    }
    if loaded.family is None:
        return known | _without_family(loaded)
    return known | _with_family(loaded, device)


def _without_family(model: Model) -> dict[str, Any]:
    from unweave.models.proposals import proposed_row

    proposal = proposed_row(model.module)
    sites = [{"site": str(site)} for site in model.sites()]
    return {"sites": sites, "laws": [], "devices": {}, "proposal": proposal, "healthy": True, "verdict": "plain module"}


def _with_family(model: Model, device: str | None) -> dict[str, Any]:
    from unweave.cli.environment import devices
    from unweave.models.self_check import check_laws, compare_devices, site_table

    laws = [{**vars(result), "holds": result.holds} for result in check_laws(model)]
    others = [device] if device is not None else [name for name in devices() if name != "cpu"]
    broken = [f"law {law['law']} ({law['says']}) is off by {law['worst']:.2g} at {law['where']}" for law in laws
              if not law["holds"]]  # fmt: skip
    return {
        "sites": [{**vars(row), "shape": list(row.shape)} for row in site_table(model)],
        "laws": laws,
        "devices": {name: compare_devices(model, name) for name in others},
        "proposal": None,
        "healthy": not broken,
        "verdict": "; ".join(broken) or "all laws hold",
    }


def _say_environment(found: dict[str, Any]) -> None:
    typer.echo(f"unweave {found['unweave']}, Python {found['python']}, {found['platform']}")
    typer.echo("versions   " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    typer.echo("devices    " + ", ".join(found["devices"]))
    threads = {name: value for name, value in found["threads"].items() if value is not None}
    typer.echo("threads    " + ", ".join(f"{name} {value}" for name, value in threads.items()))
    for extra, part in found["extras"].items():
        typer.echo(f"extra      {extra}: " + ("installed" if part["installed"] else f"absent ({part['install']})"))
    there = ", ".join(f"{name} {version}" for name, version in found["beside"].items() if version is not None)
    typer.echo(f"beside     {there or 'nothing of what unweave works with'}")
    for name, cache in found["caches"].items():
        typer.echo(f"cache      {name}: {cache['bytes'] / 1e6:,.1f} MB in {cache['path']}")
    for problem in found["problems"]:
        typer.echo(f"problem    {problem}")
    if not found["problems"]:
        typer.echo("problems   none known")


def _say_model(found: dict[str, Any]) -> None:
    typer.echo("")
    typer.echo(f"{found['name']}: {found['class']}, {found['parameters']:,} parameters, {found['dtype']}")
    for row in found["sites"]:
        shape = f"({', '.join(map(str, row['shape']))})  {row['dtype']}  {row['meaning']}" if "shape" in row else ""
        typer.echo(f"  {row['site']:<24} {shape}".rstrip())
    for law in found["laws"]:
        state = "holds" if law["holds"] else "DOES NOT HOLD"
        typer.echo(f"law {law['law']}  {state}: {law['says']} (worst {law['worst']:.1e} of {law['allowed']:.0e})")
    for device, difference in found["devices"].items():
        typer.echo(f"device {device}: output differs from the CPU's by {difference:.1e} of its largest value")
    if found["proposal"] is not None:
        typer.echo(found["proposal"])


doctor.__doc__ = HELP
