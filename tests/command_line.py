# SPDX-License-Identifier: Apache-2.0
"""What tests of the command line share."""

from __future__ import annotations

import os

import pytest

import warpquant

pytest.importorskip("typer")
from typer.testing import CliRunner

from warpquant.cli import Code, app

__all__ = ["call", "plain"]


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """No colour, no settings, a cache of its own, and a width that breaks no line."""
    for name in [name for name in os.environ if name.startswith("WQ_") and name != "WQ_SHARED"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WQ_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("TERM", "dumb")
    warpquant.config.reload()
    yield
    monkeypatch.undo()
    warpquant.config.reload()


def call(*arguments, code=Code.OK):
    """Run the command; its exit code must be `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return result
