"""The cache: private, checked before it is used, bounded, and never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeflow.hw import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(key: str, content: bytes = b"content") -> Path:
    path = cache.store("steps", key, ".x", lambda file: file.write(content))
    assert path is not None
    return path


def test_what_is_stored_is_loaded() -> None:
    path = kept("key", b"one")
    assert cache.load("steps", "key", ".x") == (path, b"one")
    cache.remove("steps", "key")
    assert cache.load("steps", "key", ".x") is None
    path = kept("key", b"two")
    assert cache.load("steps", "key", ".x") == (path, b"two")
    assert cache.load("steps", "ke", ".x") is None
    assert cache.load("steps", "key", ".y") is None
    assert cache.load("csim", "key", ".x") is None


def test_only_the_user_reads_and_writes_it(root: Path) -> None:
    path = kept("key")
    assert [stat.S_IMODE(p.stat().st_mode) for p in (root, root / "steps", path)] == [0o700, 0o700, 0o600]
    (root / "steps").chmod(0o777)
    assert cache.load("steps", "key", ".x") is not None
    assert stat.S_IMODE((root / "steps").stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"conten", b"Content", b"content and more"])
def test_what_is_damaged_is_removed_and_not_used(damage: bytes) -> None:
    path = kept("key")
    path.write_bytes(damage)
    assert cache.load("steps", "key", ".x") is None
    assert not path.exists()
    assert cache.load("steps", "key", ".x") is None


def test_other_users_files_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept("key")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert cache.folder("steps") is None
    assert cache.load("steps", "key", ".x") is None
    assert cache.store("steps", "other", ".x", lambda file: file.write(b"")) is None
    monkeypatch.undo()
    assert path.exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_read(root: Path, kind: str) -> None:
    path = kept("key")
    content = path.rename(root / "elsewhere")
    if kind == "link":
        path.symlink_to(content)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert cache.load("steps", "key", ".x") is None


def test_a_cache_that_cannot_be_written_keeps_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.write_text("no folder")
    assert cache.store("steps", "key", ".x", lambda file: file.write(b"")) is None
    assert cache.load("steps", "key", ".x") is None
    cache.trim()
    cache.clear()
    for name in ("EDGEFLOW_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache.root() is None
    assert cache.store("steps", "key", ".x", lambda file: file.write(b"")) is None


def test_a_write_that_fails_leaves_nothing(root: Path) -> None:
    def fail(file: cache.Sink) -> None:
        file.write(b"a part")
        raise OSError(28, "No space left on device")

    assert cache.store("steps", "key", ".x", fail) is None
    assert list((root / "steps").iterdir()) == []


def test_it_is_bounded_over_all_parts() -> None:
    paths = [cache.store(part, f"{i}", ".x", lambda file: file.write(bytes(100))) for i, part in enumerate(("steps", "csim") * 2)]
    for i, path in enumerate(paths):
        assert path is not None
        os.utime(path, (i, i))
    cache.trim(250)
    assert [path.exists() for path in paths if path] == [False, False, True, True]
    assert cache.load("steps", "2", ".x") is not None  # used now, so the other goes first
    cache.trim(100)
    assert [path.exists() for path in paths if path] == [False, False, True, False]
    assert [(u.part, u.files, u.bytes) for u in cache.usage()] == [
        ("csim", 0, 0),
        ("steps", 1, 100),
        ("loops", 0, 0),
        ("fonts", 0, 0),
    ]
    cache.clear()
    assert sum(u.files for u in cache.usage()) == 0


def test_the_limit_is_remembered(root: Path) -> None:
    assert cache.limit() == cache.LIMIT
    first, second = kept("a", bytes(100)), kept("b", bytes(100))
    os.utime(first, (1, 1))
    cache.set_limit(150)
    assert cache.limit() == 150
    assert (first.exists(), second.exists()) == (False, True)
    (root / "limit").write_text("some")
    assert cache.limit() == cache.LIMIT


def test_what_was_abandoned_goes(root: Path) -> None:
    kept("key")
    old, new = root / "steps" / ".old", root / "steps" / ".new"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache.trim()
    assert (old.exists(), new.exists()) == (False, True)
