"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(path.stem for path in (Path(__file__).parent / "shared").glob("*.py")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh-golden", action="store_true", help="rewrite golden files with what is generated now")


def pytest_configure() -> None:
    # A shell that starts the suite in the background has SIGINT ignored, here and in every process that a test starts.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Built libraries are cached for the whole session, and outside the user's own cache."""
    os.environ.setdefault("EDGEFLOW_CACHE", str(tmp_path_factory.getbasetemp().parent / "edgeflow-cache"))
