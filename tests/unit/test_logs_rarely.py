"""Warnings that come for each device."""

import logging

import pytest

from invites.logs.rarely import Rarely


def test_each_kind_of_warning_is_logged_once_in_a_while_with_the_number_of_those_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rarely = Rarely(logging.getLogger("tests"))
    for now in (0.0, 0.0, 9.9, 10.0, 20.0):
        rarely.warning("The end of %s failed.", now)
        rarely.warning("The beginning failed.")
    assert caplog.messages == [
        "The end of 0.0 failed.",
        "The beginning failed.",
        "The end of 10.0 failed. (2 more since the last such line)",
        "The beginning failed. (2 more since the last such line)",
        "The end of 20.0 failed.",
        "The beginning failed.",
    ]
