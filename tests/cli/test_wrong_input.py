"""Every wrong input ends with exit code 2 and one line that names what was wrong, what was got and what to do."""

import pytest

from study_inputs import save_model
from unweave.report.record import RUN


@pytest.fixture(scope="module")
def broken(tmp_path_factory, inputs):
    """Files that cannot be used."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "empty.txt").write_text("\n \n")
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (folder / "text.pdf").write_text("x")
    (folder / "no-text.jsonl").write_text('{"words": "x"}\n')
    (folder / "no-text.csv").write_text("words\nx\n")
    (folder / "folder").mkdir()
    (folder / "folder" / "letter.md").write_text("x")
    (folder / "labels.jsonl").write_text('{"feature": "a", "label": 1}\n')
    (folder / "labels-key.jsonl").write_text('{"feature": "a", "label": 1, "document": 0, "strat": 1, "end": 2}\n')
    (folder / "labels-empty.jsonl").write_text("")
    (folder / "key.toml").write_text('modles = ["x"]\n')
    (folder / "type.toml").write_text("rows = 'many'\n")
    (folder / "cut.toml").write_text("models = [\n")
    (folder / "no-config").mkdir()
    save_model(folder / "bare", tokenizer=False)
    (folder / "run").mkdir()
    (folder / "run" / RUN).write_text("{}")
    return folder


CASES = {
    "study: site": (
        "study -q --model {inputs}/llama --text {inputs}/text.txt --site blocks.0.mlp_atc --out {new}",
        "unknown site 'blocks.0.mlp_atc'; nearest: 'blocks.0.mlp_act'",
    ),
    "study: pattern": (
        "study -q --model {inputs}/llama --text {inputs}/text.txt --site blocks.*.mlp_atc --out {new}",
        "unknown site 'blocks.*.mlp_atc'; nearest: ",
    ),
    "study: block": (
        "study -q --model {inputs}/llama --text {inputs}/text.txt --site blocks.9.mlp_act --out {new}",
        "the model has blocks 0..1",
    ),
    "study: model": ("study -q --model {broken}/nowhere --out {new}", "no model directory at {broken}/nowhere: give a"),
    "study: model configuration": ("study -q --model {broken}/no-config", "{broken}/no-config has no config.json"),
    "study: tokenizer": (
        "study -q --model {broken}/bare --text {inputs}/text.txt --out {new}",
        "{broken}/bare cannot be studied on text: a transformer of a known family",
    ),
    "study: no text": ("study -q --text {broken}/nowhere.txt", "no text file at {broken}/nowhere.txt: give one that"),
    "study: empty text": (
        "study -q --model {inputs}/llama --text {broken}/empty.txt --out {new}",
        "{broken}/empty.txt has no text: at least one document is needed",
    ),
    "study: encoding": (
        "study -q --model {inputs}/llama --text {broken}/latin.txt", "{broken}/latin.txt is not UTF-8 at byte 3",
    ),
    "study: suffix": (
        "study -q --model {inputs}/llama --text {broken}/text.pdf", "{broken}/text.pdf is no .txt, .jsonl, .csv file",
    ),
    "study: folder": (
        "study -q --model {inputs}/llama --text {broken}/folder", "{broken}/folder has no .txt, .jsonl, .csv files",
    ),
    "study: jsonl": (
        "study -q --model {inputs}/llama --text {broken}/no-text.jsonl", "no-text.jsonl line 1 has no field 'text'",
    ),
    "study: csv": (
        "study -q --model {inputs}/llama --text {broken}/no-text.csv", "no-text.csv has the columns ['words']",
    ),
    "study: key": ("study {broken}/key.toml", "{broken}/key.toml: unknown key 'modles' (nearest: 'models'"),
    "study: type": ("study {broken}/type.toml", "{broken}/type.toml: rows: input should be a valid integer"),
    "study: parse": ("study {broken}/cut.toml", "{broken}/cut.toml cannot be parsed: "),
    "study: no configuration": ("study {broken}/nowhere.toml", "no configuration file at {broken}/nowhere.toml: give"),
    "study: directory": ("study {broken}/folder", "{broken}/folder is a directory: give the path of a .toml or .json"),
    "study: k": ("study --k abc", "--k is 'abc': numbers with commas between them are needed, such as 1,2,4,8,16"),
    "study: k empty": ("study --k 1,,2", "--k is '1,,2': numbers with commas"),
    "study: k falls": ("study --k 4,2", "options: ks: must be increasing numbers, at least one"),
    "study: rows": ("study --rows 3", "options: rows: input should be greater than or equal to 50, got 3"),
    "study: labels": ("study -q --labels {broken}/nowhere.jsonl", "no labels file at {broken}/nowhere.jsonl"),
    "study: labels without document": (
        "study -q {inputs}/study.json --labels {broken}/labels.jsonl --out {new}", "labels.jsonl line 1 lacks document",
    ),
    "study: labels with another key": (
        "study -q {inputs}/study.json --labels {broken}/labels-key.jsonl --out {new}",
        "unknown key 'strat'; nearest: start",
    ),
    "study: labels empty": (
        "study -q {inputs}/study.json --labels {broken}/labels-empty.jsonl --out {new}",
        "labels-empty.jsonl has no labels: at least one is needed",
    ),
    "study: out is a file": (
        "study -q {inputs}/study.json --out {inputs}/text.txt",
        "--out is {inputs}/text.txt, but {inputs}/text.txt is a file: choose a directory",
    ),
    "study: out is something else": (
        "study -q {inputs}/study.json --out {inputs}", "{inputs} exists and is not a run of a study: choose another",
    ),
    "collect: no site": (
        "collect --model {inputs}/llama --text {inputs}/text.txt --out {new}",
        "no --site was given: name at least one, such as --site 'blocks.*.resid_post'",
    ),
    "collect: site": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site blocks.1.resid_pots --out {new}",
        "nearest: 'blocks.1.resid_post'",
    ),
    "collect: dtype": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --dtype float8 --out {new}",
        "dtype: input should be 'float32', 'float16', 'bfloat16' or 'uint8', got 'float8'",
    ),
    "collect: context": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --context 0 --out {new}", "context",
    ),
    "collect: device": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --device gpu --out {new}",
        "unknown device 'gpu'",
    ),
    "collect: empty text": (
        "collect -q --model {inputs}/llama --text {broken}/empty.txt --site embed --out {new}", "empty.txt has no text",
    ),
    "collect: no text": (
        "collect -q --model {inputs}/llama --text {broken}/nowhere.txt --site embed --out {new}",
        "no text file at {broken}/nowhere.txt",
    ),
    "collect: tokenizer": (
        "collect -q --model {broken}/bare --text {inputs}/text.txt --site embed --out {new}",
        "this model has no tokenizer, so it cannot read text",
    ),
    "collect: out is a file": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --out {inputs}/text.txt",
        "{inputs}/text.txt exists and is not an activation store: choose another directory",
    ),
    "collect: workers": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --workers 0 --out {new}",
        "workers is 0: at least one thread is needed",
    ),
    "collect: protocol": (
        "collect -q --model {inputs}/llama --text {inputs}/text.txt --site embed --out nowhere://x",
        "nowhere://x cannot be reached",
    ),
    "collect: data set": (
        "collect -q --model {inputs}/llama --text hub: --site embed --out {new}", "'hub:' names no data set",
    ),
    "doctor: device": ("doctor --model {inputs}/llama --device gpu", "unknown device 'gpu'"),
    "doctor: device alone": ("doctor --device cpu", "--device compares the output of a model there: give --model"),
    "doctor: dtype": ("doctor --model {inputs}/llama --dtype float8", "unknown dtype 'float8'"),
    "doctor: directory": ("doctor --model {broken}/no-config", "{broken}/no-config has no config.json"),
    "probe sweep: out is a file": (
        "probe sweep {new} --out {inputs}/text.txt", "text.txt is a file: choose a directory",
    ),
    "ndm fit: out is in a file": (
        "ndm fit {new} --site embed --out {inputs}/text.txt/fit", "text.txt is a file: choose a directory",
    ),
    "ndm fit: seed": ("ndm fit {new} --site embed --seed -1", "'--seed': Input should be greater than or equal to 0"),
    "ndm toy: seed": ("ndm toy --seed -1", "'--seed': Input should be greater than or equal to 0"),
    "superpose: seed": ("superpose text {new} --seed -1", "'--seed': Input should be greater than or equal to 0"),
    "report: missing run": ("report {new}", "no run at {new}: there is no run.json; give the directory that"),
    "report: a file": ("report {inputs}/text.txt", "no run at {inputs}/text.txt"),
    "report: damaged run": ("report {broken}/run", "run.json is damaged"),
    "zoo: name": ("zoo train dosc --out {new}", "unknown zoo model 'dosc'; nearest: 'docs'"),
    "zoo: plan of a name": ("zoo train dosc --dry-run --out {new}", "unknown zoo model 'dosc'; nearest: 'docs'"),
    "zoo: out is a file": ("zoo train docs --out {inputs}/text.txt", "{inputs}/text.txt is a file: give a directory"),
    "zoo: out is a URL": ("zoo train docs --out memory://x", "memory://x is a URL: this needs a directory"),
    "zoo: out": (
        "zoo train docs --out {inputs}",
        "{inputs} is not empty and holds no unfinished training: choose another directory",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), CASES.values(), ids=CASES)
def test_it_is_told_in_one_line(unweave, inputs, broken, tmp_path, line, message):
    places = {"inputs": inputs, "broken": broken, "new": tmp_path / "new"}
    done = unweave(*(argument.format(**places) for argument in line.split()))
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("unweave: ")
    assert message.format(**places) in done.err
    assert "Traceback" not in done.err
