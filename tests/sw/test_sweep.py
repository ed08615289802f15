"""Jobs in local processes and on a real Dask cluster of two workers on loopback, and what happens when workers fail."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgeflow.hw.errors import ClusterError
from edgeflow.sw.search import sweep
from edgeflow.sw.search.sweep import run_cluster, run_local

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'edgeflow[dask]'")
quiet = pytest.mark.filterwarnings("ignore")  # of other packages, about processes that were killed


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
    """A scheduler on loopback; tests start workers as processes of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as made:
        yield made


@needs_dask
@quiet
def test_a_cluster_of_two_workers_shares_the_jobs(cluster: Any) -> None:
    def work(shared: str, job: int) -> tuple[str, int]:
        time.sleep(0.02)
        return f"{shared}{job}", os.getpid()

    found = list(run_cluster(work, "job ", list(range(40)), cluster.scheduler_address))
    assert sorted(text for text, _ in found) == sorted(f"job {n}" for n in range(40))
    pids = {pid for _, pid in found}
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
@pytest.mark.parametrize("allowed", [0, 100])
def test_a_job_that_kills_its_workers_is_named_as_such(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the scheduler gives the job up, or the data of all jobs is lost with the workers again and again."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "ATTEMPTS", 1)
    monkeypatch.setattr(sweep, "SCATTER_SECONDS", 2.0)

    def work(_: int, job: int) -> int:
        if job == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": allowed}),
        distributed.LocalCluster(n_workers=1, processes=True, host="127.0.0.1", dashboard_address=None) as made,
        pytest.raises(ClusterError, match=r"a job killed every worker of tcp://.*run the same command again"),
    ):
        list(run_cluster(work, 0, list(range(5)), made.scheduler_address))


@needs_dask
@quiet
def test_an_error_in_a_job_stays_itself(cluster: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_cluster(lambda shared, job: shared // job, 1, [1, 0], cluster.scheduler_address))


@needs_dask
@quiet
def test_a_scheduler_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.2)
    made = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    done: list[int] = []

    def work(_: int, job: int) -> int:
        time.sleep(0.05)
        return job

    results = run_cluster(work, 0, list(range(200)), made.scheduler_address)
    done.append(next(results))
    made.close(timeout=5)
    with pytest.raises(ClusterError, match=r"the scheduler at tcp://.* has gone.*again to go on"):
        done.extend(results)
    assert len(done) < 200


@needs_dask
@quiet
def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "WORKER_SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=True, host="127.0.0.1", dashboard_address=None) as made,
        pytest.raises(ClusterError, match=r"has no workers: start some \(dask worker tcp://"),
    ):
        list(run_cluster(lambda _, job: job, 0, [1], made.scheduler_address))


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
