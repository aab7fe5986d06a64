"""The superposition lab against a plain twin of the published recipe: training step, grid, bags, closed forms.

python benchmarks/superposition.py step       # V 10,000, width 1,000, batch 512: CPU-seconds, parts, loss curves
python benchmarks/superposition.py grid       # 24 models of a circular world
python benchmarks/superposition.py bags       # text a CPU-second, memory against one window one row
python benchmarks/superposition.py linear     # closed form against AdamW at every width, real text
python benchmarks/superposition.py table      # the numbers of docs/reproduction.md (needs ../shared/data)
python benchmarks/superposition.py value      # map and modular addition
python benchmarks/superposition.py phases     # ring, pairs and identity over width and density

CPU-seconds of this process with the threads that OMP_NUM_THREADS allows; twin and ours alternate.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch

import unweave as uw
from unweave.superposition.scores import errors_of
from unweave.superposition.step import Workspace, bag_batch, gradients
from unweave.superposition.value_coding import map_experiment, modular_addition
from unweave.superposition.words import GROUPS
from unweave.worlds.correlated import world

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "text"
lab = uw.superposition


def bags_like_text(words: int, size: int, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches whose words follow a power law and of which about 2.6 % are there."""
    rng = np.random.default_rng(seed)
    p = 1 / (np.arange(words) + 8.0)
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * p, 0.9).mean() < 0.026 else (low, middle)
    p = np.minimum(low * p, 0.9)
    found = []
    for _ in range(count):
        row, column = np.nonzero(rng.random((size, words)) < p)
        found.append((column, np.searchsorted(row, np.arange(size + 1))))
    return found


class Twin(torch.nn.Module):
    """The published recipe, plainly: a Python loop collates sparse COO rows, a sparse product encodes, autograd goes back."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight.clone())
        self.bias = torch.nn.Parameter(torch.zeros(weight.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x_hat."""
        return torch.relu(torch.sparse.mm(x, self.weight.T) @ self.weight + self.bias)


def collated(column: np.ndarray, begins: np.ndarray, words: int) -> torch.Tensor:
    """A sparse batch made window by window."""
    rows, columns = [], []
    for number in range(len(begins) - 1):
        here = column[begins[number] : begins[number + 1]].tolist()
        rows += [number] * len(here)
        columns += here
    places = torch.tensor([rows, columns])
    return torch.sparse_coo_tensor(places, torch.ones(len(rows)), (len(begins) - 1, words)).coalesce()


def step(words: int = 10_000, width: int = 1_000, size: int = 512, steps: int = 4) -> dict:
    batches = bags_like_text(words, size, steps, 0)
    generator = torch.Generator().manual_seed(0)
    start = (torch.rand(width, words, generator=generator) * 2 - 1) * (2 / words) ** 0.5
    twin = Twin(start)
    slow = torch.optim.AdamW(twin.parameters(), lr=5e-4, weight_decay=1.0)
    ours = {}
    for name in ("float32", "bfloat16"):
        encoder, bias = start.T.contiguous().clone(), torch.zeros(words)
        groups = [{"params": [encoder], "weight_decay": 1.0}, {"params": [bias], "weight_decay": 1.0}]
        ours[name] = (encoder, bias, torch.optim.AdamW(groups, lr=5e-4, fused=True))
    spaces = {name: Workspace() for name in ours}
    spent: dict[str, list[float]] = {"twin": [], "float32": [], "bfloat16": []}
    losses: dict[str, list[float]] = {"twin": [], "float32": [], "bfloat16": []}
    for column, begins in batches:
        at = time.process_time()
        x = collated(column, begins, words)
        slow.zero_grad()
        loss = torch.nn.functional.mse_loss(twin(x), x.to_dense())
        loss.backward()
        slow.step()
        spent["twin"].append(time.process_time() - at)
        losses["twin"].append(float(loss.detach()))
        for name, (encoder, bias, optimiser) in ours.items():
            at = time.process_time()
            batch = bag_batch(column, begins, words)
            found = gradients(
                batch,
                encoder,
                None,
                bias,
                activation="relu",
                loss="mse",
                relu_latent=False,
                half=name == "bfloat16",
                space=spaces[name],
            )
            encoder.grad, bias.grad = found.encoder, found.bias
            optimiser.step()
            spent[name].append(time.process_time() - at)
            losses[name].append(found.loss)
    middle = {name: float(np.median(values[1:])) for name, values in spent.items()}
    return {
        "cpu_seconds": middle,
        "twin_over_float32": middle["twin"] / middle["float32"],
        "twin_over_bfloat16": middle["twin"] / middle["bfloat16"],
        "loss_difference": {
            name: float(np.abs(np.array(losses[name]) / np.array(losses["twin"]) - 1).max()) for name in ours
        },
    }


def grid() -> dict:
    """24 models of the published synthetic setting; the twin trains one of them with a loader, as published."""
    x = world("circular").x
    at = time.process_time()
    models = lab.train_small(x, (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1), (1.0, 6.0), (0,), steps=3000)
    ours = (time.process_time() - at) / len(models)
    rows = torch.from_numpy(x[:8000]).float()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=256, shuffle=True)
    weight = torch.nn.Parameter((torch.rand(6, 12) * 2 - 1) / 12**0.5)
    bias = torch.nn.Parameter(torch.zeros(12))
    optimiser = torch.optim.AdamW([weight, bias], lr=1e-2, weight_decay=1.0)
    epochs = 10
    at = time.process_time()
    for _ in range(epochs):
        for (part,) in loader:
            optimiser.zero_grad()
            loss = torch.nn.functional.mse_loss(torch.relu(part @ weight.T @ weight + bias), part)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([weight, bias], 1.0)
            optimiser.step()
    twin = (time.process_time() - at) * 200 / epochs
    return {"ours_a_model": ours, "twin_a_model": twin, "ratio": twin / ours, "twin": "10 of 200 epochs, scaled"}


def packed(name: str) -> str:
    """A packed text of the data directory."""
    with gzip.open(DATA / "corpora" / name, "rt") as stream:
        return stream.read()


def corpus() -> list[str]:
    """English text of the data directory: WikiText-2, news, speeches, plays."""
    found = [packed(f"wikitext2_{name}.txt.gz") for name in ("valid", "test")]
    for name in ("abc", "state_union", "inaugural"):
        with zipfile.ZipFile(DATA / "nltk" / f"{name}.zip") as archive:
            found += [
                archive.read(one).decode("latin-1")
                for one in sorted(archive.namelist())
                if one.endswith(".txt") and "README" not in one
            ]
    found.append(packed("tiny_shakespeare.txt.gz"))
    return found


def bags() -> dict:
    texts = corpus()
    size = sum(len(text.encode()) for text in texts)
    at = time.process_time()
    found = lab.bags(texts, vocab=10_000)
    spent = time.process_time() - at
    stored = found.ids.nbytes + found.offsets.nbytes + found.segments.nbytes
    whole = 0
    for first in range(0, found.n_windows, 2000):
        whole += 8 * int(found.take(np.arange(first, min(first + 2000, found.n_windows)), "uint8").sum())
    return {
        "megabytes": size / 1e6,
        "cpu_seconds": spent,
        "megabytes_a_second": size / 1e6 / spent,
        "stored_megabytes": stored / 1e6,
        "windows_as_int64_rows_megabytes": whole / 1e6,
        "windows": found.n_windows,
    }


def linear() -> list[dict]:
    text = packed("wikitext2_valid.txt.gz")
    held = packed("wikitext2_test.txt.gz")
    found = lab.bags([text, held], vocab=1000, documents="each", split=(0.5, 0.25, 0.25))
    spectrum = lab.spectrum(found)
    rows = []
    for width in (10, 50, 200):
        model = lab.train(found, width, "linear", 0.0, lr=2e-3, epochs=60, batch=128)
        closed = spectrum.model(width)
        test = found.split("test")
        rows.append(
            {
                "width": width,
                "closed_train": closed.train_mse,
                "adamw_train": model.train_mse,
                "closed_test": errors_of(closed, found, test)[0],
                "adamw_test": errors_of(model, found, test)[0],
            }
        )
    return rows


ARTICLE = "^ = [^=].* = $"
"""First line of an article of WikiText."""


def documents() -> list[str]:
    """English text whose documents are of one size: articles of WikiText-2, speeches."""
    found = []
    for name in ("valid", "test"):
        for line in packed(f"wikitext2_{name}.txt.gz").split("\n"):
            if re.search(ARTICLE, line):
                found.append([])
            if found:
                found[-1].append(line)
    whole = ["\n".join(lines) for lines in found]
    for name in ("state_union", "inaugural"):
        with zipfile.ZipFile(DATA / "nltk" / f"{name}.zip") as archive:
            whole += [
                archive.read(one).decode("latin-1")
                for one in sorted(archive.namelist())
                if one.endswith(".txt") and "README" not in one
            ]
    return whole


def table() -> dict:
    """Months, regimes, norm against decay, shares better than alone, and slopes over decay and width.

    Every seed has training and held-out documents drawn again, so that intervals hold for documents too.
    """
    from unweave.study.superposition.config import TextLabConfig
    from unweave.study.superposition.lab import text_lab

    config = TextLabConfig(
        vocab=800,
        widths=(20, 80),
        decays=(0.0, 1.0, 4.0),
        seeds=(0, 1, 2, 3, 4),
        epochs=15,
        lr=5e-3,
        batch=128,
        min_chars=50,
        force=GROUPS["months"],
        documents="each",
    )
    found = text_lab(documents(), config)
    facts = found.facts()
    short = [{k: v for k, v in row.items() if k != "scores"} | row["scores"] for row in facts["models"]]
    months = {}
    for one in found.scored:
        if one.model.seed in (None, 0):
            r2 = [row["r2_linear"] for row in one.geometry.table() if row["word"] in GROUPS["months"]]
            months[f"{one.name}, {one.model.width}"] = float(np.nanmean(r2))
    return {
        "bags": repr(found.bags),
        "models": short,
        "slopes": facts["slopes"],
        "months_linear_r2": months,
        "data_ring": {k: (v.value, v.p_value) for k, v in found.data_rings.items()},
        "clusters": facts["clusters"],
        "cpu_seconds": facts["cpu_seconds"],
    }


def cities() -> np.ndarray:
    """Latitudes and longitudes of places in the US with more than 50,000 people."""
    with tarfile.open(DATA / "space_time" / "world_models_entities.tar.xz") as archive:
        name = next(one for one in archive.getnames() if one.endswith("us_place.csv"))
        stream = archive.extractfile(name)
        rows = list(csv.DictReader(io.TextIOWrapper(stream, "utf-8")))
    kept = [row for row in rows if row["entity_type"] == "city" and float(row["population"] or 0) > 50_000]
    return np.array([[float(row["latitude"]), float(row["longitude"])] for row in kept])


def value() -> dict:
    """Places of the US and of a whole globe, and addition modulo 59."""
    found = {
        "cities": map_experiment(cities(), pairs=560_000, epochs=8),
        "globe, degrees": map_experiment(760, pairs=460_000, epochs=10, coordinates="degrees"),
        "globe": map_experiment(760, pairs=460_000, epochs=3),
        "modular": modular_addition(59),
    }
    return {
        name: {"table": one.table(), "r2": one.probe_r2, "pairs": one.n, "cpu": one.seconds}
        for name, one in found.items()
    }


def phases() -> list[dict]:
    """Regimes of a circular world over width and density, four seeds."""
    rows = []
    for sharpness, base in ((10, 0), (5, -2), (3, -3)):
        rows += lab.phase_diagram((2, 3, 4, 6, 8, 10, 12), sharpness=sharpness, bases=(base,), seeds=(0, 1, 2, 3))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["step", "grid", "bags", "linear", "table", "value", "phases"])
    print(json.dumps(globals()[parser.parse_args().part](), indent=1, default=str))
