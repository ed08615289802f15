"""Jobs in local processes and on real Dask clusters of processes on loopback, and what happens when these fail."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeflow.hw.errors import ClusterError
from edgeflow.sw.search import sweep
from edgeflow.sw.search.sweep import run_cluster, run_local

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'edgeflow[dask]'")
quiet = pytest.mark.filterwarnings("ignore")  # of other packages, about processes that were killed
PATIENT = {"distributed.deploy.lost-worker-timeout": "120s"}  # until a worker that starts slowly is not started again
TEST_SECONDS = 120  # after which a cluster that hangs fails its test


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Fail a test that hangs instead of waiting for a cluster that never answers."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"the test took more than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("processes", [1, 2])
def test_local_jobs_all_come_back(processes: int) -> None:
    pids = list(run_local(lambda shared, job: (shared + job, os.getpid()), 100, list(range(20)), processes))
    assert sorted(result for result, _ in pids) == list(range(100, 120))
    assert (os.getpid() in {pid for _, pid in pids}) == (processes == 1)


def test_no_jobs_are_no_results() -> None:
    assert list(run_local(lambda _, job: job, None, [], 2)) == []


@quiet
def test_a_killed_process_is_one_message_and_loses_nothing() -> None:
    def work(_: int, job: int) -> int:
        if job == 6:
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    done: list[int] = []
    with pytest.raises(ClusterError, match=r"a worker process was killed.*run the same command again to go on"):
        done.extend(run_local(work, 0, list(range(8)), 2))
    assert set(done) >= {0, 1, 2, 3}
    assert 6 not in done


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two workers on loopback; workers that die are started again."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set(PATIENT),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as local,
    ):
        yield local


@needs_dask
@quiet
def test_a_cluster_of_two_workers_shares_the_jobs(cluster: Any) -> None:
    def work(shared: str, job: int) -> tuple[str, int]:
        time.sleep(0.02)
        return f"{shared}{job}", os.getpid()

    results = list(run_cluster(work, "job ", list(range(40)), cluster.scheduler_address))
    assert sorted(text for text, _ in results) == sorted(f"job {n}" for n in range(40))
    pids = {pid for _, pid in results}
    assert len(pids) == 2
    assert os.getpid() not in pids


@needs_dask
@quiet
def test_jobs_of_a_killed_worker_run_on_another(cluster: Any) -> None:
    def work(_: int, job: int) -> tuple[int, int]:
        time.sleep(0.1)
        return job, os.getpid()

    done: list[int] = []
    for job, pid in run_cluster(work, 0, list(range(20)), cluster.scheduler_address):
        if not done:
            os.kill(pid, signal.SIGKILL)
        done.append(job)
    assert sorted(done) == list(range(20))


@needs_dask
@quiet
def test_all_workers_may_die_when_others_take_their_place(cluster: Any) -> None:
    """The results, and the data that all jobs share, were on the workers that died: both are made again."""

    def work(shared: bytes, job: int) -> tuple[int, int, int]:
        time.sleep(0.1)
        return job, len(shared), os.getpid()

    done: list[int] = []
    pids: set[int] = set()
    for job, size, pid in run_cluster(work, bytes(1_000_000), list(range(20)), cluster.scheduler_address):
        assert size == 1_000_000
        done.append(job)
        if len(done) < 8:
            pids.add(pid)
        elif len(done) == 8:
            assert len(pids) == 2
            for one in pids:
                os.kill(one, signal.SIGKILL)
    assert sorted(done) == list(range(20))


@needs_dask
@quiet
@pytest.mark.parametrize("threads", [1, 3])
def test_a_job_that_kills_its_worker_costs_no_other_job(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not those that wait or run at the same worker, which die with it again and again."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "WORKER_SECONDS", 60.0)  # a busy machine starts a worker slowly

    def work(_: int, job: int) -> int:
        if job == 3:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.4 if job in (2, 4) else 0.0)
        return job

    done: list[int] = []
    with (
        dask.config.set({**PATIENT, "distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=threads, processes=True, host="127.0.0.1", dashboard_address=None
        ) as local,
        pytest.raises(
            ClusterError, match=r"^1 of 8 jobs killed every worker of tcp://.*run the same command again to go on$"
        ) as seen,
    ):
        done.extend(run_cluster(work, 0, list(range(8)), local.scheduler_address))
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]
    assert "\n" not in str(seen.value)


@dataclass(frozen=True)
class Processes:
    """A scheduler and its workers, which nothing starts again."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: tuple[subprocess.Popen[bytes], ...]


@contextlib.contextmanager
def cluster_of_processes(folder: Path, workers: int) -> Iterator[Processes]:
    """A cluster as users start it: ``dask scheduler`` and ``dask worker``, without nannies."""

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", "dask", *arguments, "--no-dashboard"]
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    file = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:

        def started(*arguments: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(start(*arguments))
            stack.callback(process.kill)
            return process

        scheduler = started("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        while not file.is_file() or not file.read_text().endswith("}"):
            assert scheduler.poll() is None
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        serving = [started("worker", address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1") for _ in range(workers)]
        yield Processes(address, scheduler, tuple(serving))


@needs_dask
@quiet
@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("workers", r"^the scheduler at tcp://\S+ has no workers left: start some \(dask worker .*again to go on$"),
        ("scheduler", r"^the scheduler at tcp://\S+ has gone: start it again and run the same command again to go on$"),
    ],
)
def test_a_cluster_that_is_killed(
    victim: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before is the caller's, and one line says what to do: the client's tracebacks are not shown."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "WORKER_SECONDS", 30.0)
    done: list[int] = []
    with cluster_of_processes(tmp_path, 2) as processes:

        def work(shared: int, job: int) -> int:
            time.sleep(0.1)
            return shared + job

        def consume() -> None:
            for result in run_cluster(work, 100, list(range(1000)), processes.address):
                done.append(result)
                if len(done) == 5:
                    monkeypatch.setattr(sweep, "WORKER_SECONDS", 2.0)
                    for process in processes.workers if victim == "workers" else [processes.scheduler]:
                        process.kill()

        with pytest.raises(ClusterError, match=message) as seen:
            consume()
    assert 5 <= len(done) < 1000
    assert set(done) < set(range(100, 1100))
    assert "\n" not in str(seen.value)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")] == []


@needs_dask
@quiet
def test_a_job_that_fails_is_tried_again(cluster: Any, tmp_path: Path) -> None:
    def work(folder: str, job: int) -> int:
        try:
            Path(folder, str(job)).touch(exist_ok=False)
        except FileExistsError:
            return job
        raise OSError("no space left on device")

    assert sorted(run_cluster(work, str(tmp_path), [1, 2, 3], cluster.scheduler_address)) == [1, 2, 3]


@needs_dask
@quiet
def test_an_error_in_a_job_stays_itself(cluster: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_cluster(lambda shared, job: shared // job, 1, [1, 0], cluster.scheduler_address))


@needs_dask
@quiet
def test_a_scheduler_that_goes_away() -> None:
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    done: list[int] = []

    def work(_: int, job: int) -> int:
        time.sleep(0.05)
        return job

    results = run_cluster(work, 0, list(range(200)), local.scheduler_address)
    done.append(next(results))
    local.close(timeout=5)
    with pytest.raises(ClusterError, match=r"the scheduler at tcp://.* has gone.*again to go on"):
        done.extend(results)
    assert len(done) < 200


@needs_dask
@quiet
def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "WORKER_SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=True, host="127.0.0.1", dashboard_address=None) as local,
        pytest.raises(ClusterError, match=r"has no workers: start some \(dask worker tcp://"),
    ):
        list(run_cluster(lambda _, job: job, 0, [1], local.scheduler_address))


@needs_dask
@quiet
def test_workers_of_another_version_are_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = sweep.installed_version()

    def elsewhere() -> str:
        from importlib import metadata

        return metadata.version("pip")

    monkeypatch.setattr(sweep, "installed_version", elsewhere)
    monkeypatch.setattr("edgeflow.sw.search.sweep.metadata.version", lambda _: version)
    with pytest.raises(ClusterError, match=rf"workers of tcp://.* have EdgeFlow .*, not {version}: install the same on all"):
        list(run_cluster(lambda _, job: job, 0, [1], cluster.scheduler_address))


@needs_dask
@pytest.mark.parametrize("address", ["nonsense://a:1", "tcp://", "tcp://127.0.0.1:notaport", "tcp://127.0.0.1", "127.0.0.1:8786"])
def test_a_bad_address(address: str) -> None:
    with pytest.raises(ClusterError, match=r"^scheduler address '.*' is not one: give tcp://HOST:PORT"):
        list(run_cluster(lambda _, job: job, 0, [1], address))


@needs_dask
@quiet
def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"no scheduler answers at {address}: start one \(dask scheduler\)"):
            list(run_cluster(lambda _, job: job, 0, [1], address))


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("edgeflow.sw.search.sweep.importlib.import_module", missing)
    with pytest.raises(ClusterError, match=r"pip install 'edgeflow\[dask\]'"):
        list(run_cluster(lambda _, job: job, 0, [1], "tcp://127.0.0.1:1"))
