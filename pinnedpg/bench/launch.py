# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Starts the ranks of a benchmark on this machine, and lets each join."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys

import torch
import torch.distributed as dist

STARTED = {
    "RANK": "WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
}
"""Where torchrun, Open MPI and MPICH say which rank this is, and of how many."""
LENIENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Lets Open MPI (4, then 5) start more ranks than cores, as any user; the ranks pin themselves."""


def is_rank() -> bool:
    """Returns whether a launcher has started this process as one of its ranks."""
    return any(name in os.environ for name in STARTED)


def without(words: list[str], option: str) -> list[str]:
    """Returns a command line without an option and its value.

    The ranks do not need --nproc, which torchrun (torch 2.11) takes for one of its own.
    """
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if option not in (before, word.partition("=")[0])]


def launch(program: list[str], ranks: int, by_mpi: bool) -> int:
    """Starts a Python program's ranks, and returns their exit status.

    Args:
        program: What follows `python`.
        ranks: How many.
        by_mpi: Whether MPI is among what is measured: then mpirun starts them, where it is there.
    """
    mpirun = shutil.which("mpirun") if by_mpi else None
    if mpirun is None:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        return _call([*launcher, "--nproc-per-node", str(ranks), *program], environment)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, **LENIENT, "MASTER_PORT": port}
    return _call([mpirun, "-n", str(ranks), sys.executable, *program], environment)


def _call(command: list[str], environment: dict[str, str]) -> int:
    """Runs a launcher that ends, with its ranks, where this process is told to or dies."""
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,  # so that it hears of Ctrl-C from here, and once
        preexec_fn=lambda: libc.prctl(1, signal.SIGTERM),  # PR_SET_PDEATHSIG
    )

    def stop(number: int, _frame: object) -> None:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    return process.wait()


def join(pin: bool, device: str = "cpu") -> tuple[int, int]:
    """Joins the other ranks, on a core of its own where `pin` says so.

    The default group is gloo's, for the benchmark's own messages.

    Returns:
        Rank and world size.
    """
    env = os.environ
    name = next(name for name in STARTED if name in env)
    env["RANK"], env["WORLD_SIZE"] = env[name], env[STARTED[name]]
    env.setdefault("MASTER_ADDR", "127.0.0.1")
    env.setdefault("MASTER_PORT", str(20_000 + os.getppid() % 10_000))  # of mpirun, alike on all
    rank, cores = int(env["RANK"]), sorted(os.sched_getaffinity(0))
    if pin:
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    return rank, dist.get_world_size()
