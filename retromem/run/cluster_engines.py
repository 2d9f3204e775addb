"""Engines whose workers may be of other machines: Ray and Dask by joblib's own backends, Slurm by submitit.

A worker writes a cell's result into the folder of the run, which it must see: that is asked before the first cell.
Progress is read off that folder, and so is what a lost worker leaves behind. Addresses come from the engines' own
environment variables: RAY_ADDRESS, DASK_SCHEDULER_ADDRESS, and those that sbatch reads.
"""

import contextlib
import logging
import os
import platform
import shutil
import socket
import threading
import time
import uuid
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from retrieval.errors import UserError
from retromem.run.local_engine import ENVIRONMENT, Engine, EngineName, LokyEngine, WorkerLost, state_of, work
from retromem.run.run_cell import AnyCell, Workplace

_LOOK_SECONDS = 0.3
"""between two looks into the folder of a run"""
_REACHED_SECONDS = 10.0
"""in which a cluster must answer"""
_SLURM_HOURS = 12
"""that Slurm gives a cell"""
_SLURM_ARRAY = 500
"""cells of one job array; Slurm takes 1,000 unless told otherwise"""


class _Cluster(Engine):
    """Workers that may be of other machines."""

    name: EngineName
    patience = 15

    @abstractmethod
    def _call(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The function's value for each of the arguments; raises what a worker raised, or WorkerLost."""

    @abstractmethod
    def _num_workers(self) -> int:
        """That compute at once."""

    def check(self, folders: Sequence[Path]) -> None:
        marks = [folder / f".seen-{uuid.uuid4().hex}" for folder in folders]
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        try:
            asked = [(str(mark), number) for mark in marks for number in range(self._num_workers())]
            looks = self._call(_look, asked)
        except ImportError as error:
            raise UserError(f"ENGINE={self.name}: a worker lacks retromem ({error}); install it there") from None
        except WorkerLost as error:
            raise UserError(f"ENGINE={self.name}: no worker answers ({error})") from None
        finally:
            for mark in marks:
                mark.unlink(missing_ok=True)
        for machine, place, is_seen in looks:
            if not is_seen:
                raise UserError(
                    f"ENGINE={self.name}: a worker on {machine} does not see {Path(place).parent}; run from a folder "
                    "that all machines share"
                )

    def results(self, cells: Sequence[AnyCell], workplace: Workplace) -> Iterator[tuple[str, str]]:
        ended: list[BaseException | None] = []

        def run() -> None:
            try:
                self._call(work, [(cell, workplace) for cell in cells])
                ended.append(None)
            except BaseException as error:  # told in the thread that waits
                ended.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        waiting = {cell.folder_name for cell in cells}
        while waiting:
            is_last_look = bool(ended)
            for name in sorted(waiting):
                status = state_of(Path(workplace.cells_folder) / name)
                if status is not None:
                    waiting.remove(name)
                    yield name, status
            if is_last_look:
                break
            time.sleep(_LOOK_SECONDS)
        thread.join()
        if ended[0] is not None and not isinstance(ended[0], WorkerLost):
            raise ended[0]
        if waiting:
            raise WorkerLost(str(ended[0] or "no result came back"))


def _look(mark: str, _: int) -> tuple[str, str, bool]:
    """Of a worker: its machine, and whether it sees a file that was just written."""
    time.sleep(0.1)  # or the first worker to start looks for all of them
    return platform.node(), mark, Path(mark).is_file()


class _Joblib(_Cluster):
    """A cluster by joblib's own backend."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, num_workers: int) -> None:
        """`num_workers`: where it starts its own."""
        self._num_local = num_workers

    def _call(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        from joblib import Parallel, delayed, parallel_config

        with warnings.catch_warnings(), parallel_config(backend=self.name, **self._settings()):
            warnings.simplefilter("ignore")
            try:
                parallel = Parallel(n_jobs=-1, batch_size=1, pre_dispatch="all")
                return list(parallel(delayed(function)(*given) for given in arguments))
            except self.lost as error:
                raise WorkerLost(str(error).partition("\n")[0]) from None

    def _settings(self) -> dict[str, Any]:
        return {}


class RayEngine(_Joblib):
    """RAY_ADDRESS names a cluster; without it, one is started here for the run."""

    name = "ray"
    _joined = False

    def __enter__(self) -> Self:
        import ray
        from ray.util.joblib import register_ray

        # A cell asks Ray for no GPU, and is not to lose sight of one.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        address = os.environ.get("RAY_ADDRESS")
        _check_reached(address)
        if not ray.is_initialized():
            local = {} if address else {"num_cpus": self._num_local, "include_dashboard": False}
            try:
                ray.init(
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": ENVIRONMENT},
                    **local,
                )
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                told = str(error).strip().partition("\n")[0]
                raise UserError(f"ENGINE=ray: RAY_ADDRESS={address or ''} cannot be reached ({told})") from None
            self._joined = True
        logging.getLogger("ray").setLevel(logging.ERROR)
        register_ray()
        self.lost = (ray.exceptions.RayError,)
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        if self._joined:
            ray.shutdown()

    def _num_workers(self) -> int:
        import ray

        return int(ray.cluster_resources().get("CPU", 1))


def _check_reached(address: str | None) -> None:
    """UserError where nobody answers at a Ray address: Ray itself would go on asking for many minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_SECONDS).close()
        except OSError as error:
            raise UserError(f"ENGINE=ray: RAY_ADDRESS={address} cannot be reached ({error})") from None


class DaskEngine(_Joblib):
    """DASK_SCHEDULER_ADDRESS names a cluster; without it, one is started here for the run."""

    name = "dask"

    def __enter__(self) -> Self:
        import dask
        from distributed import Client, LocalCluster
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        address, self._cluster = dask.config.get("scheduler-address", None), None
        try:
            if address is None:
                self._cluster = LocalCluster(
                    n_workers=self._num_local,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            self._client = Client(self._cluster or address, timeout=10, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"ENGINE=dask: DASK_SCHEDULER_ADDRESS={address} cannot be reached ({error})") from None
        self.lost = (KilledWorker, CommClosedError, FutureCancelledError)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self._client.close(timeout=5)
            if self._cluster is not None:
                self._cluster.close(timeout=5)

    def _num_workers(self) -> int:
        return max(1, len(self._client.ncores()))

    def _settings(self) -> dict[str, Any]:
        # A cell whose worker died is run again by whoever asked for it, who knows what it left behind.
        return {"client": self._client, "retries": 0}


class SlurmEngine(_Cluster):
    """Job arrays by submitit, a cell a task; sbatch reads SBATCH_PARTITION, SBATCH_ACCOUNT and its like."""

    name = "slurm"

    def __init__(self, folder: Path, cluster: str = "slurm") -> None:
        """`folder`: of the jobs' scripts and outputs. `cluster`: submitit's own name, `local` for processes here."""
        self._folder, self._cluster = folder, cluster
        self._jobs: list[Any] = []

    def __enter__(self) -> Self:
        if self._cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("ENGINE=slurm: there is no sbatch on this machine; run on a login node of the cluster")
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            if not job.done():
                job.cancel()

    def _num_workers(self) -> int:
        return 1  # any one of them: the next may be another machine, and none waits for us

    def _call(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        import submitit

        executor = submitit.AutoExecutor(folder=self._folder, cluster=self._cluster)
        executor.update_parameters(
            name="retromem", timeout_min=60 * _SLURM_HOURS, slurm_cpus_per_task=1, slurm_array_parallelism=_SLURM_ARRAY
        )
        jobs = []
        try:
            for start in range(0, len(arguments), _SLURM_ARRAY):
                jobs += executor.map_array(function, *zip(*arguments[start : start + _SLURM_ARRAY], strict=True))
                self._jobs = jobs
        except (submitit.core.utils.FailedJobError, OSError) as error:
            raise UserError(f"ENGINE=slurm: sbatch does not take the cells ({str(error).strip()[:200]})") from None
        values = []
        for job in jobs:
            try:
                values.append(job.result())
            except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
                values.append(WorkerLost(str(error).partition("\n")[0]))
        for value in values:
            if isinstance(value, WorkerLost):
                raise value
        return values


def engine_of(name: EngineName, *, num_workers: int, run: Path) -> Engine:
    """The engine of this name. `num_workers`: where it starts its own; `run`: the folder of the run."""
    if name == "slurm":
        return SlurmEngine(run.absolute() / "slurm")
    kinds: dict[EngineName, Callable[[int], Engine]] = {"loky": LokyEngine, "ray": RayEngine, "dask": DaskEngine}
    return kinds[name](num_workers)
