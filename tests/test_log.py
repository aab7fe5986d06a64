"""The library never prints: one silent logger, and a progress protocol whose default drops everything."""

from __future__ import annotations

import logging

import pytest

from unweave.log import SILENT, Progress, Silent, logger


def test_the_default_listener_hears_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.task("collect", 3, "rows") as advance:
        for count in (0, 1, 10**9):
            assert advance(count) is None
    with SILENT.task("unknown length", None, "rows") as advance:
        advance(1)
    SILENT.note("a plan")
    assert capsys.readouterr() == ("", "")


def test_the_default_listener_lets_errors_through() -> None:
    with pytest.raises(KeyError), SILENT.task("collect", None, "rows"):
        raise KeyError


def test_it_is_a_listener() -> None:
    assert isinstance(SILENT, Silent)
    assert isinstance(SILENT, Progress)
    assert not isinstance(object(), Progress)


def test_the_logger_is_the_librarys_and_has_only_a_null_handler(capsys: pytest.CaptureFixture[str]) -> None:
    assert logger is logging.getLogger("unweave")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.propagate
    logger.info("heard by whoever configures logging, printed by nobody else")
    assert capsys.readouterr() == ("", "")


def test_who_configures_logging_hears_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unweave"):
        logger.info("context lowered to %d", 64)
    assert caplog.messages == ["context lowered to 64"]
