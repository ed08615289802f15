"""Kill -9 at many moments of ``edgeflow compile``: the build that was there opens every time, and the next compilation cleans up.

    python scripts/check_kills.py [--moments 20]

A compilation into a folder that holds a build is timed, then started again and killed at moments between the first trace of it and
its end. After each kill the folder must hold a whole build, the old one or the new one, with every hash right. At the end one
compilation runs through, after which nothing but its build may lie there. Exit status 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import edgeflow

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "japanese_vowels"


def command(target: Path, seed: int) -> list[str]:
    """Compile the example; without data, so that the seed tells builds apart."""
    return [
        sys.executable,
        "-m",
        "edgeflow.sw.cli.main",
        "-q",
        "compile",
        str(EXAMPLE / "model.onnx"),
        "--seed",
        str(seed),
        "-o",
        str(target),
    ]


def kill_at(target: Path, seed: int, seconds: float) -> bool:
    """Kill a compilation after that many seconds; whether it was still running."""
    child = subprocess.Popen(command(target, seed))
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return True
    return False


def timed(target: Path, seed: int) -> tuple[float, float]:
    """Seconds after which a compilation has a working folder, and after which it has ended."""
    began, start = time.perf_counter(), None
    child = subprocess.Popen(command(target, seed))
    while child.poll() is None:
        if start is None and len(list(target.parent.iterdir())) > 1:
            start = time.perf_counter() - began
        time.sleep(0.01)
    if child.returncode or start is None:
        raise SystemExit("the example does not compile")
    return start, time.perf_counter() - began


def check(folder: Path, moments: int) -> list[str]:
    """What does not hold."""
    target, problems = folder / "build", []
    subprocess.run(command(target, 0), check=True)
    start, seconds = timed(target, 1)
    known, left, killed = 1, 0, 0
    for i in range(moments):
        seed, moment = i + 2, start + (seconds - start) * i / (moments - 1)
        running = kill_at(target, seed, moment)
        killed += running
        leftovers = [path.name for path in folder.iterdir() if path.name != "build"]
        left = max(left, len(leftovers))
        if len(leftovers) > 1:  # those of the kill before are gone as soon as the next compilation has a folder of its own
            problems.append(f"{moment:.2f} s: {len(leftovers)} leftovers: {', '.join(sorted(leftovers))}")
        try:
            stored = int(edgeflow.open_build(target).manifest["seed"])
        except edgeflow.EdgeFlowError as error:
            problems.append(f"{moment:.2f} s: the build does not open: {error}")
            continue
        if stored not in (known, seed):
            problems.append(f"{moment:.2f} s: the build is that of seed {stored}, not of {known} or {seed}")
        print(
            f"{moment:6.2f} s: {'killed' if running else 'had ended'}, {len(leftovers)} leftovers, the build opens, seed {stored}"
        )
        known = stored
    subprocess.run(command(target, moments + 2), check=True)
    rest = [path.name for path in folder.iterdir() if path.name != "build"]
    if rest:
        problems.append(f"leftovers after the last compilation: {', '.join(rest)}")
    span = f"{moments} moments from {start:.1f} to {seconds:.1f} s"
    print(f"{span}, {killed} killed, at most {left} leftovers at a time, {len(rest)} at the end")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--moments", type=int, default=20)
    moments = parser.parse_args().moments
    with tempfile.TemporaryDirectory(prefix="edgeflow-kills-") as folder:
        problems = check(Path(folder), moments)
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
