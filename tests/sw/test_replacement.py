"""A build takes another one's place in one step; locks say whose working folders are whose; outputs replace regular files only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal
from tiny_transformer import Tiny

import edgeflow
from edgeflow.sw.files import replacement
from edgeflow.sw.files.arrays import read_npz, write_npz
from edgeflow.sw.files.replacement import new_build
from edgeflow.sw.files.writing import check_writable, write_bytes


def fill(folder: Path, text: str) -> None:
    """What counts as a build here."""
    (folder / "manifest.json").write_text("{}")
    (folder / "text").write_text(text)


def make(target: Path, text: str) -> None:
    with new_build(target) as folder:
        fill(folder, text)


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(replacement, "_exchange", lambda *_: False)
    return str(request.param)


def test_this_file_system_exchanges_names(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        fill(tmp_path / name, name)
    assert replacement._exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "text").read_text() for name in "ab"] == ["b", "a"]
    with pytest.raises(FileNotFoundError):
        replacement._exchange(tmp_path / "a", tmp_path / "c")


@pytest.mark.usefixtures("way")
def test_a_build_is_made_and_replaced(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        make(tmp_path / "b", text)
        assert (tmp_path / "b" / "text").read_text() == text
        assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_build_is_there_at_every_moment(tmp_path: Path) -> None:
    make(tmp_path / "b", "0")
    stop, seen = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            seen.append((tmp_path / "b").is_dir())

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(100):
        make(tmp_path / "b", str(i))
    stop.set()
    reader.join()
    assert len(seen) > 100
    assert all(seen)
    assert (tmp_path / "b" / "text").read_text() == "99"


@pytest.mark.usefixtures("way")
def test_the_one_that_finishes_last_stays(tmp_path: Path) -> None:
    with new_build(tmp_path / "b") as first, new_build(tmp_path / "b") as second:
        assert first != second
        fill(first, "first")
        fill(second, "second")
    assert (tmp_path / "b" / "text").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_two_compilations_at_once_leave_one_whole_build(tiny: Tiny, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeflow.sw.cli.main", "-q", "compile", str(tiny.model), "-o", str(tmp_path / "b")]
    running = [subprocess.Popen([*command, "--seed", seed]) for seed in ("1", "2")]
    assert [child.wait(timeout=120) for child in running] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert edgeflow.open_build(tmp_path / "b").manifest["seed"] in (1, 2)


def test_what_came_to_stand_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def make_late() -> None:
        with new_build(tmp_path / "b") as folder:
            fill(folder, "new")
            (tmp_path / "b").mkdir()
            (tmp_path / "b" / "mine").write_text("mine")

    with pytest.raises(edgeflow.OutputError, match="is not an EdgeFlow build"):
        make_late()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["mine"]


KILLED = """
import os, signal, sys
from pathlib import Path
from edgeflow.sw.files import replacement
where, target = sys.argv[1], Path(sys.argv[2])
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
if where.startswith("renames"):
    replacement._exchange = lambda *_: False
rename = Path.rename
def renamed(path, to):
    if where == "renames, between" and path.name.startswith(".edgeflow-"): die()
    return rename(path, to)
Path.rename = renamed
if where.endswith("after"): replacement.shutil.rmtree = die
with replacement.new_build(target) as folder:
    (folder / "manifest.json").write_text("{}")
    if where.endswith("before"): die()
    (folder / "text").write_text("new")
"""


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("before", "old"),
        ("exchange, after", "new"),
        ("renames, before", "old"),
        ("renames, between", "old"),
        ("renames, after", "new"),
    ],
)
def test_a_kill_at_any_moment(tmp_path: Path, where: str, text: str) -> None:
    target = tmp_path / "b"
    make(target, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, where, str(target)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) > 1 or where == "renames, between"
    if not target.exists():
        with pytest.raises(edgeflow.InputError, match="format"):  # it is there again; what stands for a build here has no format
            edgeflow.open_build(target)
    assert (target / "text").read_text() == text
    make(target, "next")
    assert (target / "text").read_text() == "next"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_leftovers_are_told_from_what_is_in_use(tmp_path: Path) -> None:
    left = tmp_path / ".edgeflow-b-0123abcd"
    left.mkdir()
    others = [tmp_path / name for name in (".edgeflow-c-0123abcd", ".edgeflow-b-0123abcd.txt", ".edgeflow-b-notes")]
    for folder in others:
        folder.mkdir()
    with new_build(tmp_path / "b") as first:
        assert not left.exists()
        fill(first, "first")
        make(tmp_path / "b", "second")
        assert (first / "text").read_text() == "first"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["b", *(p.name for p in others)])


def test_two_explorations_of_one_folder(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    with replacement.locked_folder(tmp_path / "e", "a test"):
        message = terminal.refused("explore", tiny.model, "-o", tmp_path / "e")
    assert "in use: another exploration writes into it" in message
    assert list((tmp_path / "e").iterdir()) == []


# Files


def test_a_device_is_written_through(terminal: Terminal, tiny_build: Path, tmp_path: Path) -> None:
    """Device nodes need root, so these are the system's own; a link stands for one, as its folder cannot be written by users."""
    for name in ("full", "null"):
        (tmp_path / name).symlink_to(f"/dev/{name}")
    before = os.stat("/dev/full").st_rdev
    for path in (tmp_path / "full", Path("/dev/full")):
        assert "No space left on device" in terminal.refused("cycles", tiny_build, "--trace", path)
        assert "No space left on device" in terminal.refused("export", tiny_build, "-o", path)
    assert terminal.run("cycles", tiny_build, "--trace", "/dev/null").status == 0
    assert os.stat("/dev/full").st_rdev == before
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "full").is_symlink()


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.append(pipe.read_bytes()))
    reader.start()
    write_npz(pipe, {"x": np.arange(5)})
    reader.join()
    assert pipe.is_fifo()
    (tmp_path / "x.npz").write_bytes(parts[0])
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["x"], np.arange(5))


def test_standard_output_is_written_through(tiny_build: Path, tmp_path: Path) -> None:
    """Whether it is a pipe or a file, which the shell holds open and that would otherwise be replaced."""
    command = [sys.executable, "-m", "edgeflow.sw.cli.main", "-q", "export", str(tiny_build), "-o", "/dev/stdout"]
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    with (tmp_path / "out").open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "out").stat().st_ino
    assert piped == (tmp_path / "out").read_bytes() == (tiny_build / "model.qdq.onnx").read_bytes()


def test_a_link_stays_and_permissions_too(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "file"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to("folder/file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o640)
    (tmp_path / "dangling").symlink_to("folder/other")
    write_bytes(tmp_path / "dangling", b"made")
    assert (tmp_path / "folder" / "other").read_bytes() == b"made"


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path / "loop", "symbolic links"),
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "x", "is not a folder"),
    ):
        with pytest.raises(edgeflow.OutputError, match=reason):
            check_writable(path)
    with pytest.raises(edgeflow.OutputError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 300), b"")
    assert [p.name for p in tmp_path.iterdir()] == ["loop"]


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "x", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(edgeflow.OutputError, match="No space left on device"):
        write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
