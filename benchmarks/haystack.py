"""The haystack on real text: mean F1 of one neuron by collection, with random weights and shuffled labels beside it.

python benchmarks/haystack.py [--model minilm --model zoo:docs] [--collections ewt_upos,...] [--rows 3000] [--out DIR]

Reads ../shared/data: UD English EWT (ewt_*), sample programs in 30 languages (programming_lang_id), parallel treebanks
(natural_lang_id: de en es fr pt, grouped by sentence number), the HoTT book (latex), WikiText-2 (text_features,
compound_words). Law 18 of specs/probing.md holds where `law 18` says yes: the interval of the trained model lies above
that of random weights and above the shuffled labels.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from unweave.activations.haystack import HaystackInputs
from unweave.activations.haystack.conllu import read_conllu
from unweave.log import SILENT
from unweave.study.haystack.config import HaystackConfig
from unweave.study.haystack.run import run_haystack

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
PUD = ("de", "en", "es", "fr", "pt")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    parser.add_argument("--collections", default="ewt_upos")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if not DATA.is_dir():
        sys.stderr.write(f"no data at {DATA}: nothing to measure\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = HaystackConfig(
            models=tuple(asked.model or ("minilm", "zoo:docs")),
            inputs=inputs(Path(folder)),
            collections=tuple(asked.collections.split(",")),
            rows=asked.rows,
            shuffles=asked.shuffles,
        )
        start = time.process_time()
        result = run_haystack(config, asked.out or Path(folder) / "run", progress=SILENT)
        for one in result.summary()["collections"]:
            print(line(one) if "mean_f1" in one else f"{one['model']} {one['collection']}: nothing was probed")
        for record in result.records:
            for sentence in record.summary:
                print(f"{record.model}: {sentence}")
        print(f"{time.process_time() - start:.0f} CPU-s, {result.seconds:.0f} s")
    return 0


def inputs(folder: Path) -> HaystackInputs:
    """The shared data as files that the haystack takes."""
    text = DATA / "text"
    with tarfile.open(text / "code" / "sample_programs_top30.tar.xz") as archive:
        archive.extractall(folder / "code", filter="data")
    for letter in sorted((folder / "code" / "archive").iterdir()):
        for language in letter.iterdir():
            language.rename(folder / "code" / language.name)
    with tarfile.open(text / "corpora" / "hott_book_latex.tar.xz") as archive:
        archive.extractall(folder / "latex", filter="data")
    with (folder / "languages.jsonl").open("w", encoding="utf-8") as stream:
        for language in PUD:
            sentences = read_conllu(text / "ud_languages" / f"{language}_pud-ud-test.conllu.gz")
            for number, sentence in enumerate(sentences):
                row = {"text": sentence.text, "label": language, "group": f"sentence {number}"}
                stream.write(json.dumps(row) + "\n")
    with (folder / "wikitext.txt").open("w", encoding="utf-8") as stream:
        for part in ("valid", "test"):
            stream.write(gzip.decompress((text / "corpora" / f"wikitext2_{part}.txt.gz").read_bytes()).decode("utf-8"))
    return HaystackInputs(
        conllu=(str(text / "ud_english_ewt"),),
        programming=str(folder / "code"),
        languages=str(folder / "languages.jsonl"),
        latex=str(folder / "latex"),
        text=str(folder / "wikitext.txt"),
    )


def line(one: dict) -> str:
    """A collection on a model, and whether law 18 holds."""
    trained, fresh, shuffled = one["mean_f1"], one["random_weights_mean_f1"], one["mean_f1"]["control"]
    law = trained["low"] > fresh["high"] and trained["low"] > shuffled
    return (
        f"{one['model']} {one['collection']}: {len(one['features'])} features, one neuron {interval(trained)}, random"
        f" weights {interval(fresh)}, shuffled labels {shuffled:.3f}, law 18: {'yes' if law else 'no'}"
    )


def interval(one: dict) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
