"""Whether words of one kind lie together, beyond what plain counts of the data would give.

Three scores: how many of a word's nearest neighbours have its label, silhouette, and mutual information of k-means
clusters with labels. Beside each stands chance (shuffled labels) and the same score on principal components, on PPMI
vectors and on frequency alone: only what is above those belongs to the model.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `purity` | kNN purity | scalar | mean share of the k nearest that have the same label | specs/superposition.md, 5.9 |
| `pmi` | PPMI | (V, V) | `max(0, log(p_ij / (p_i p_j)))` | Levy and Goldberg 2014 |
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from unweave.errors import DataError, InputError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.dataset import Dataset, as_dataset
from unweave.superposition.krylov import WORDS, leading
from unweave.superposition.linear import Spectrum
from unweave.superposition.moments import chunks
from unweave.tensors.multiplicity import rank_p

NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class ClusterScore:
    """Scores of one set of vectors."""

    vectors: str
    """`model`, `pca`, `ppmi` or `frequency`."""
    purity: float
    purity_null: float
    purity_p: float
    silhouette: float
    silhouette_p: float
    nmi: float
    nmi_null: float
    n: int
    """Words with a label."""
    classes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """Scores of a model and of what it is compared with."""

    scores: tuple[ClusterScore, ...]

    def table(self) -> list[dict[str, Any]]:
        """A set of vectors each, the model first."""
        return [dict(vars(one)) for one in self.scores]

    @property
    def excess(self) -> float:
        """Purity of the model above the best of the others."""
        return self.scores[0].purity - max((one.purity for one in self.scores[1:]), default=0.0)

    def __repr__(self) -> str:
        """Purity of each."""
        return "Clusters(" + ", ".join(f"{one.vectors} {one.purity:.3f}" for one in self.scores) + ")"


def clusters(
    model: Autoencoder | Any,
    labels: Any,
    *,
    rows: Any = None,
    found: Spectrum | None = None,
    neighbours: int = NEIGHBOURS,
    draws: int = 200,
    seed: int = 0,
) -> Clusters:
    """Whether words with one label lie together.

    Args:
        model: A model, or vectors (c, k), a row a word.
        labels: Word -> label; for vectors one label a row.
        rows: Bags of the model, for the comparison with PPMI vectors (of 8,000 words at most) and frequencies.
        found: Their spectrum, for the comparison with principal components.
        neighbours: Neighbours k of the purity.
        draws: Shuffles of the labels.
        seed: Of shuffles and k-means.

    Raises:
        DataError: Fewer than two labels with two words.
        InputError: Labels that do not fit the vectors.

    Example:
        >>> vectors = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 3))
        >>> clusters(vectors, list("aaaabbbbcccc"), neighbours=3).scores[0].purity
        1.0
    """
    if isinstance(model, Autoencoder):
        if not isinstance(labels, Mapping):
            raise InputError("labels of a model are a mapping from words to labels")
        columns = [place for place, word in enumerate(model.vocab) if word in labels]
        names = [labels[model.vocab[place]] for place in columns]
        sets = {"model": model.weight[:, columns].T.astype(np.float64)}
        if found is not None:
            sets["pca"] = (found.projector(model.width) * np.sqrt(found.values[: model.width]))[columns]
        if rows is not None:
            data = as_dataset(rows)
            if len(data.vocab) <= WORDS:
                sets["ppmi"] = ppmi_vectors(data, model.width)[columns]
            sets["frequency"] = np.log(_means(data)[columns, None] + 1e-9)
    else:
        sets = {"model": np.asarray(model, dtype=np.float64)}
        names = [str(one) for one in labels]
        if len(names) != len(sets["model"]):
            raise InputError(f"{len(names)} labels for {len(sets['model'])} vectors: one a row is needed")
    kinds, code = np.unique(names, return_inverse=True)
    if len(kinds) < 2 or (np.bincount(code) >= 2).sum() < 2:
        raise DataError(f"{len(names)} words of {len(kinds)} labels: two labels with two words or more are needed")
    scores = [_score(name, vectors, code, neighbours, draws, seed) for name, vectors in sets.items()]
    return Clusters(scores=tuple(scores))


def _score(
    name: str, vectors: np.ndarray, code: Int[np.ndarray, " c"], neighbours: int, draws: int, seed: int
) -> ClusterScore:
    from sklearn.metrics import normalized_mutual_info_score

    rng = np.random.default_rng([19, seed])
    unit = _unit(vectors) if vectors.shape[1] > 1 else vectors
    gap = 1 - unit @ unit.T if vectors.shape[1] > 1 else np.abs(vectors - vectors.T)
    gap = np.maximum(gap, 0.0)
    np.fill_diagonal(gap, np.inf)
    nearest = np.argsort(gap, axis=1, kind="stable")[:, : min(neighbours, len(code) - 1)]
    np.fill_diagonal(gap, 0.0)
    shuffled = [rng.permutation(code) for _ in range(draws)]
    purity = [float((one[nearest] == one[:, None]).mean()) for one in (code, *shuffled)]
    outline = [_silhouette(gap, one) for one in (code, *shuffled)]
    count = int(code.max()) + 1
    grouped = _grouped(unit, count, seed)
    told = [float(normalized_mutual_info_score(one, grouped)) for one in (code, *shuffled[:20])]
    return ClusterScore(
        vectors=name, purity=purity[0], purity_null=float(np.mean(purity[1:])) if draws else float("nan"),
        purity_p=rank_p(purity[0], purity[1:]), silhouette=outline[0],
        silhouette_p=rank_p(outline[0], outline[1:]), nmi=told[0],
        nmi_null=float(np.mean(told[1:])) if draws else float("nan"), n=len(code), classes=count,
    )  # fmt: skip


def _means(data: Dataset) -> np.ndarray:
    indices = data.split("train")
    return sum((x.sum(0, dtype=np.float64) for _, x in chunks(data, indices)), np.zeros(len(data.vocab))) / len(indices)


def _silhouette(gap: np.ndarray, code: np.ndarray) -> float:
    """Mean silhouette from distances; a word alone in its class has 0."""
    member = np.eye(int(code.max()) + 1)[code]
    sizes = member.sum(0)
    sums = gap @ member
    own = sums[np.arange(len(code)), code] / np.maximum(sizes[code] - 1, 1)
    other = np.where(member > 0, np.inf, sums / np.maximum(sizes, 1)).min(1)
    widest = np.maximum(own, other)
    score = np.divide(other - own, widest, out=np.zeros_like(own), where=widest > 0)
    return float(np.where(sizes[code] > 1, score, 0.0).mean())


def ppmi_vectors(data: Dataset, width: int) -> Float[np.ndarray, "v k"]:
    """Vectors of words from counts alone: the largest singular vectors of positive pointwise mutual information.

    Args:
        data: Bags.
        width: Dimensions.
    """
    from scipy.sparse.linalg import eigsh

    moments = data.moments("train")
    expected = np.outer(moments.mean, moments.mean)
    joint = moments.products / moments.n
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.where(joint > 0, np.maximum(np.log(joint / expected), 0), 0.0)
    np.fill_diagonal(pmi, 0.0)
    count = min(width, len(pmi) - 1)
    if not pmi.any():
        return np.zeros((len(pmi), count))
    values, vectors = eigsh(pmi, k=count, v0=np.ones(len(pmi)))
    return vectors * np.sqrt(np.abs(values))


def topics(data: Dataset, count: int = 12, *, split: str = "test", seed: int = 0) -> dict[str, str]:
    """Labels of words from other windows than a model saw: k-means of which windows they occur in together.

    Args:
        data: Bags.
        count: Topics.
        split: Windows they are taken from; all where there are none.
        seed: Of k-means.
    """
    part = split if len(data.split(split)) else "all"
    sums, count_of, indices = np.zeros(len(data.vocab)), 0, data.split(part)
    squares = np.zeros(len(data.vocab))
    for _, x in chunks(data, indices, dtype="float64"):
        sums, squares, count_of = sums + x.sum(0), squares + np.square(x).sum(0), count_of + len(x)
    variance = squares / count_of - (sums / count_of) ** 2
    there = np.flatnonzero(variance > 1e-12)
    if len(there) < 2:
        return {}
    scale = np.zeros(len(variance))
    scale[there] = variance[there] ** -0.5
    found = leading(data, part, min(count, len(there), len(scale) - 1), scale=scale)
    kept = found.vectors[there] * np.sqrt(np.maximum(found.values, 0))
    code = _grouped(_unit(kept), count, seed)
    return {data.vocab[place]: f"topic {number}" for place, number in zip(there.tolist(), code.tolist(), strict=True)}


def lexicon(path: str | Path) -> dict[str, str]:
    """Labels of words from a CSV file with the columns `word` and `label`, such as parts of speech or topics.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, a column is missing, a row has no label, or a word has two.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "kinds.csv"
        >>> _ = file.write_text("word,label\\ncat,animal\\nred,colour\\n")
        >>> lexicon(file)
        {'cat': 'animal', 'red': 'colour'}
    """
    try:
        rows = list(csv.DictReader(Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a CSV file in UTF-8") from error
    if not rows or not {"word", "label"} <= set(rows[0]):
        raise InputError(f"{path} has the columns {sorted(rows[0]) if rows else []}: word and label are needed")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        word, label = (row["word"] or "").strip(), (row["label"] or "").strip()
        if not word or not label:
            raise InputError(f"{path}, line {number}: word {word!r} has the label {label!r}: neither may be empty")
        if found.get(word, label) != label:
            raise InputError(f"{path}, line {number}: {word!r} has two labels, {found[word]!r} and {label!r}: keep one")
        found[word] = label
    return found


def word_clusters(
    model: Autoencoder, count: int = 12, *, weights: Any = None, seed: int = 0
) -> tuple[Int[np.ndarray, " v"], list[str]]:
    """(cluster of every word, a name for every cluster): k-means by cosine; a cluster is named by its words of largest
    frequency times closeness to its middle.

    Args:
        model: A fitted model.
        count: Clusters.
        weights: Frequency of each word, for the names.
        seed: Of k-means.
    """
    unit = _unit(model.weight.T.astype(np.float64))
    count = max(1, min(count, len(unit)))
    grouped = _grouped(unit, count, seed)
    frequency = np.ones(len(unit)) if weights is None else np.sqrt(np.asarray(weights, dtype=np.float64))
    names = []
    for number in range(int(grouped.max()) + 1):
        members = np.flatnonzero(grouped == number)
        middle = unit[members].mean(0)
        middle = middle / max(float(np.linalg.norm(middle)), 1e-12)
        weighed = frequency[members] * np.maximum(unit[members] @ middle, 0)
        names.append(", ".join(model.vocab[members[place]] for place in np.argsort(-weighed, kind="stable")[:3]))
    return grouped, names


def _grouped(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-means; no more clusters than there are different rows."""
    from sklearn.cluster import KMeans

    starts: Any = 4  # sklearn's stubs take it for a text
    different = len(np.unique(rows.round(6), axis=0))
    return KMeans(max(1, min(count, different)), n_init=starts, random_state=seed).fit_predict(rows)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
