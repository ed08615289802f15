"""Running many independent jobs: in processes of this machine (joblib) or on a Dask cluster.

Results come as they are ready. Whatever goes wrong with the workers is one ClusterError that says what to do; results that have
come before are the caller's already.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, TypeVar
from urllib.parse import urlsplit

from edgeflow.hw.errors import ClusterError

Job = TypeVar("Job")
Result = TypeVar("Result")

SCHEMES = ("tcp", "tls")
CONNECT_SECONDS = 10.0  # until a scheduler must have answered
WORKER_SECONDS = 15.0  # without any worker before a sweep gives up
SCATTER_SECONDS = 10.0  # until the shared data must have reached the workers
POLL_SECONDS = 1.0
ATTEMPTS = 4  # at a job whose workers die
BATCHES = 2  # jobs that wait at each worker thread of a cluster


def run_local(work: Callable[[Any, Job], Result], shared: Any, jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """``work(shared, job)`` for every job in ``processes`` processes (one: in this one), in the order in which they finish.

    ``shared`` and the results must pickle. ClusterError if a process dies.
    """
    if processes == 1 or len(jobs) <= 1:
        for job in jobs:
            yield work(shared, job)
        return
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = joblib.Parallel(
        n_jobs=processes, backend="loky", return_as="generator_unordered", max_nbytes=None, pre_dispatch="2*n_jobs"
    )
    try:
        yield from parallel(joblib.delayed(work)(shared, job) for job in jobs)
    except TerminatedWorkerError as error:
        raise ClusterError(
            "a worker process was killed, perhaps for want of memory: run the same command again to go on, with a smaller --jobs"
        ) from error


def run_cluster(work: Callable[[Any, Job], Result], shared: Any, jobs: Sequence[Job], address: str) -> Iterator[Result]:
    """``work(shared, job)`` for every job on the cluster whose scheduler has this address, in the order in which they finish.

    A job whose worker dies runs on another one. ClusterError if ``distributed`` is not installed, the scheduler does not answer
    or goes away, no worker is there (any more), workers have another EdgeFlow, or a job kills every worker that it runs on.
    """
    client = _connect(address)
    try:
        _check_workers(client, address)
        yield from _results(client, work, shared, jobs, address)
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


def _connect(address: str) -> Any:
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise ClusterError("option --scheduler needs Dask's distributed: pip install 'edgeflow[dask]'") from error
    nobody = f"no scheduler answers at {address}: start one (dask scheduler), check the address, or leave out --scheduler"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.scheme not in SCHEMES:
        raise ClusterError(f"scheduler address {address!r} is not one: give tcp://HOST:PORT as the scheduler prints it")
    try:
        # A client that finds nobody leaves threads behind: ask first.
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, direct_to_workers=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(nobody) from error


def _check_workers(client: Any, address: str) -> None:
    """Wait for a worker, and see that all have this EdgeFlow."""
    deadline = time.monotonic() + WORKER_SECONDS
    while not _workers(client):
        if time.monotonic() > deadline:
            raise ClusterError(f"the scheduler at {address} has no workers: start some (dask worker {address}) and run this again")
        time.sleep(0.2)
    try:
        versions: dict[str, str] = client.run(installed_version)
    except Exception as error:  # whatever a worker without EdgeFlow makes of the call
        raise ClusterError(
            f"a worker of {address} cannot run EdgeFlow ({_first_line(error)}): install it on all of them"
        ) from error
    wrong = {version for version in versions.values() if version != installed_version()}
    if wrong:
        raise ClusterError(
            f"workers of {address} have EdgeFlow {', '.join(sorted(wrong))}, not {installed_version()}: install the same on all"
        )


def installed_version() -> str:
    """The version of EdgeFlow that runs here."""
    return metadata.version("edgeflow")


def _results(client: Any, work: Callable[[Any, Job], Result], shared: Any, jobs: Sequence[Job], address: str) -> Iterator[Result]:
    killed = importlib.import_module("distributed.scheduler").KilledWorker
    waiting = deque(range(len(jobs)))
    attempts = [0] * len(jobs)
    running: dict[Any, int] = {}  # futures that are let go are cancelled
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    data: Any = None
    seen = time.monotonic()  # when a worker was there
    try:
        while waiting or running:
            if data is None and _workers(client):
                with contextlib.suppress(TimeoutError):  # the workers have just died
                    data = client.scatter(shared, broadcast=True, hash=False, timeout=SCATTER_SECONDS)
            room = 0 if data is None else BATCHES * sum(client.nthreads().values()) - len(running)
            for number in [waiting.popleft() for _ in range(min(room, len(waiting)))]:
                future = client.submit(work, data, jobs[number], pure=False)
                running[future] = number
                attempts[number] += 1
                future.add_done_callback(finished.put)
            with contextlib.suppress(queue.Empty):
                future = finished.get(timeout=POLL_SECONDS)
                number = running.pop(future)
                try:
                    result = future.result()
                except (asyncio.CancelledError, concurrent.futures.CancelledError):
                    if client.status != "running":
                        raise
                    # The workers that held the shared data have died with it.
                    data = None
                    waiting.append(number)
                    if attempts[number] > ATTEMPTS:
                        raise _deadly(address) from None
                else:
                    yield result
            if client.status != "running":
                raise OSError
            seen = time.monotonic() if _workers(client) else seen
            if time.monotonic() - seen > WORKER_SECONDS:
                raise ClusterError(
                    f"the scheduler at {address} has no workers left: start some (dask worker {address}) and run the same command "
                    f"again to go on"
                )
    except killed as error:
        raise _deadly(address) from error
    except (OSError, TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        raise ClusterError(
            f"the scheduler at {address} has gone: start it again and run the same command again to go on"
        ) from error


def _deadly(address: str) -> ClusterError:
    return ClusterError(
        f"a job killed every worker of {address} that it ran on, perhaps for want of memory: give workers more, and run the same "
        f"command again to go on"
    )


def _workers(client: Any) -> int:
    return len(client.nthreads()) if client.status == "running" else 0


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
