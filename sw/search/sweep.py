"""Running many independent jobs: in processes of this machine (joblib) or on a Dask cluster.

Results come as they are ready. Whatever goes wrong with the workers is one ClusterError that says what to do; results that have
come before are the caller's already.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from importlib import metadata
from typing import Any, TypeVar
from urllib.parse import urlsplit

from edgeflow.hw.errors import ClusterError

Job = TypeVar("Job")
Result = TypeVar("Result")

SCHEMES = ("tcp", "tls")
CONNECT_SECONDS = 10.0  # until a scheduler must have answered
WORKER_SECONDS = 15.0  # without any worker before a sweep gives up
CHECK_SECONDS = 1.0  # between questions whether workers are there
POLL_SECONDS = 0.02  # between looks at what has finished
PARENT_SECONDS = 0.5  # between a local process's questions whether its parent lives
RETRIES = 2  # of a job that ends with an error; how often a worker may die of one is the scheduler's own limit


def run_local(work: Callable[[Any, Job], Result], shared: Any, jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """``work(shared, job)`` for every job in ``processes`` processes (one: in this one), in the order in which they finish.

    ``shared`` and the results must pickle. The processes end when this one does, however it ends. ClusterError if one of them dies.
    """
    if processes == 1 or len(jobs) <= 1:
        for job in jobs:
            yield work(shared, job)
        return
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = joblib.Parallel(
        n_jobs=processes,
        backend="loky",
        return_as="generator_unordered",
        max_nbytes=None,
        pre_dispatch="2*n_jobs",
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    try:
        yield from parallel(joblib.delayed(work)(shared, job) for job in jobs)
    except TerminatedWorkerError as error:
        raise ClusterError(
            "a worker process was killed, perhaps for want of memory: run the same command again to go on, with a smaller --jobs"
        ) from error


def _end_with(parent: int) -> None:
    """Have this process end, whatever it does, soon after the one with the number ``parent``, which started it, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


def run_cluster(work: Callable[[Any, Job], Result], shared: Any, jobs: Sequence[Job], address: str) -> Iterator[Result]:
    """``work(shared, job)`` for every job on the cluster whose scheduler has this address, in the order in which they finish.

    A job whose worker dies runs on another one, and one that fails is tried again before its error is raised. ClusterError if
    ``distributed`` is not installed, the scheduler does not answer or goes away, no worker is there (any more), workers have
    another EdgeFlow, or, once all others are done, if a job kills every worker that it runs on.
    """
    client = _connect(address)
    with _quiet_client():
        try:
            _check_workers(client, address)
            yield from _results(client, work, shared, jobs, address)
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=2)


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep back the tracebacks that a client logs when its scheduler goes away: that is one ClusterError here."""
    loggers = [logging.getLogger(name) for name in ("distributed.client", "tornado.application")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
    while not _workers(client, address):
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
    # The shared data is the result of a task: where the workers that hold it die, the scheduler makes it again.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        data = client.submit(_itself, shared, pure=False, retries=RETRIES)
    suspects = yield from _completed(client, work, data, jobs, address)
    # A job that waited at a worker which another one killed is suspected with it: alone, each shows what it does.
    deadly = 0
    for job in suspects:
        deadly += len((yield from _completed(client, work, data, [job], address)))
    if deadly:
        raise ClusterError(
            f"{deadly} of {len(jobs)} jobs killed every worker of {address} that they ran on, perhaps for want of memory: give the "
            f"workers more, and run the same command again to go on"
        )


def _completed(
    client: Any, work: Callable[[Any, Job], Result], data: Any, jobs: Sequence[Job], address: str
) -> Generator[Result, None, list[Job]]:
    """The results of jobs as they are ready; returns the jobs whose workers died as often as the scheduler allows."""
    distributed = importlib.import_module("distributed")
    killed = importlib.import_module("distributed.scheduler").KilledWorker
    running = dict(zip(client.map(work, [data] * len(jobs), jobs, pure=False, retries=RETRIES), jobs, strict=True))
    completed = distributed.as_completed(running, loop=client.loop, with_results=True, raise_errors=False)
    suspects: list[Job] = []
    while not completed.is_empty():
        _wait(client, completed, running, address)
        for future, result in completed.next_batch(block=False):
            job = running.pop(future)  # a future that is let go leaves the cluster's memory
            if isinstance(result, asyncio.CancelledError | concurrent.futures.CancelledError):
                raise _gone(address)
            if future.status != "error":
                yield result
            elif isinstance(result[1], killed):
                suspects.append(job)
            else:
                raise result[1].with_traceback(result[2])
    return suspects


def _wait(client: Any, completed: Any, running: Collection[Any], address: str) -> None:
    """Wait for a result of the running futures; ClusterError if none can come any more."""
    seen = checked = time.monotonic()  # when a worker was there, and when that was asked
    while not completed.has_ready():
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        if client.status != "running":
            raise _gone(address)
        if now - checked < CHECK_SECONDS:
            continue
        checked = now
        if any(future.status == "cancelled" for future in running):  # the client has lost its scheduler, and found it again
            raise _gone(address)
        if _workers(client, address):
            seen = now
        elif now - seen > WORKER_SECONDS:
            raise ClusterError(
                f"the scheduler at {address} has no workers left: start some (dask worker {address}) and run the same command "
                f"again to go on"
            )


def _itself(shared: Any) -> Any:
    """The task that holds the data of all jobs."""
    return shared


def _gone(address: str) -> ClusterError:
    return ClusterError(f"the scheduler at {address} has gone: start it again and run the same command again to go on")


def _workers(client: Any, address: str) -> int:
    """How many workers the scheduler has; ClusterError if it does not say."""
    try:
        return len(client.nthreads())
    except (OSError, TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        raise _gone(address) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
