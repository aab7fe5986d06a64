"""What becomes of commands and of errors: exit codes, one line, tracebacks only with --debug; help that can be run."""

import shlex

import pytest

from unweave.cli import main
from unweave.errors import Interrupted
from unweave.version import __version__

COMMANDS = {
    "unweave": (), "study": ("study",), "collect": ("collect",), "report": ("report",), "zoo": ("zoo",),
    "doctor": ("doctor",),
    "directions": ("directions",),
    "probe": ("probe",), "probe sweep": ("probe", "sweep"), "probe haystack": ("probe", "haystack"),
    "lib": ("lib",), "lib fit": ("lib", "fit"), "lib compare": ("lib", "compare"), "lib modadd": ("lib", "modadd"),
    "ndm": ("ndm",), "ndm fit": ("ndm", "fit"), "ndm toy": ("ndm", "toy"),
    "superpose": ("superpose",), "superpose text": ("superpose", "text"),
    "superpose synthetic": ("superpose", "synthetic"), "superpose explain": ("superpose", "explain"),
    "evaluate": ("evaluate",), "evaluate run": ("evaluate", "run"), "evaluate suites": ("evaluate", "suites"),
    "evaluate planted": ("evaluate", "planted"),
    "compare": ("compare",), "export": ("export",),
    "zoo list": ("zoo", "list"), "zoo train": ("zoo", "train"),
}  # fmt: skip


def examples(text):
    """The command lines of a help page: indented, beginning with the program's name."""
    return [line.strip() for line in text.split("\n") if line.startswith("      unweave ")]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_opens_with_a_command_that_can_be_run(unweave, command, option):
    done = unweave(*command, option)
    assert (done.code, done.err) == (0, "")
    assert done.out.index("unweave ", done.out.index("Usage:") + 15) < done.out.index("Options:")
    found = examples(done.out)
    assert found
    for line in found:
        check_arguments(shlex.split(line)[1:])


def check_arguments(arguments):
    """Raises unless the parser takes the command line; nothing is run."""
    group = main.command_line()
    context = group.make_context("unweave", list(arguments))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, rest, parent=context)


def test_every_command_is_in_the_list_above():
    names = {"unweave"}
    group = main.command_line()
    for name, command in group.commands.items():
        names.add(name)
        names |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    assert names == set(COMMANDS)


def test_every_option_is_explained():
    def walk(command):
        yield command
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    for command in walk(main.command_line()):
        for parameter in command.params:
            assert parameter.help, (command.name, parameter.name)


@pytest.mark.parametrize("command", [(), ("zoo",)])
def test_a_command_without_anything_shows_its_help(unweave, command):
    done = unweave(*command)
    assert done.code == 0
    assert done.out.rstrip() == unweave(*command, "--help").out.rstrip()


def test_the_version(unweave):
    assert unweave("--version").out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("studdy",), "No such command 'studdy'. Did you mean 'study'?"),
        (("zoo", "lst"), "No such command 'lst'. Did you mean 'list'?"),
        (("study", "--modell", "x"), "--modell"),
        (("collect",), "Missing option '--model' / '-m'; `unweave collect --help` shows how"),
        (("study", "--seed", "x"), "'--seed'"),
        (("study", "a.toml", "b.toml"), "(b.toml); `unweave study --help`"),
        (("report",), "Missing argument 'run'; `unweave report --help`"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line_with_the_way_to_help(unweave, arguments, message):
    done = unweave(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("unweave: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert "--help` shows how" in done.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            RuntimeError("the sum is 3, not 2"),
            1,
            "this is a bug in unweave: RuntimeError: the sum is 3, not 2; run again",
        ),
        (KeyError("site"), 1, "this is a bug in unweave: KeyError: 'site'"),
        (MemoryError(), 1, "this is a bug in unweave: MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("interrupted: two shards are kept"), 130, "interrupted: two shards are kept"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_other_errors_have_their_exit_codes(unweave, monkeypatch, tmp_path, error, code, words, debug):
    def breaks(_folder):
        raise error

    monkeypatch.setattr("unweave.report.page.write_report", breaks)
    done = unweave("report", tmp_path, *(["--debug"] if debug else []))
    assert done.code == code
    assert done.out == ""
    assert done.message.startswith(f"unweave: {words}")
    assert ("Traceback" in done.err) == (debug and code == 1)
    if not debug:
        assert done.err.count("\n") == 1


def test_debug_shows_where_the_users_fault_was_found(unweave, tmp_path):
    done = unweave("report", tmp_path, "--debug")
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert (
        done.message
        == f"unweave: no run at {tmp_path}: there is no run.json; give the directory that `unweave study` printed"
    )


def test_a_message_of_several_lines_becomes_one(unweave, monkeypatch, tmp_path):
    from unweave.errors import InputError

    def breaks(_folder):
        raise InputError("one\n  two\nthree")

    monkeypatch.setattr("unweave.report.page.write_report", breaks)
    assert unweave("report", tmp_path).err == "unweave: one two three\n"
