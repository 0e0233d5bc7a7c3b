# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Who is timed: torch's backends, MPI through mpi4py, and DeepSpeed's shared-memory all-reduce."""

import functools
import os
import platform
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pinnedpg.bench.operations import REDUCTIONS, Seat

all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Unsupported(Exception):
    """The backend is not there, has no such operation, or not for that type."""


class Comm:
    """The operations that are timed. The base refuses all of them."""

    def __init__(self, seat: Seat):
        """Keeps who measures."""
        self.seat = seat

    def __getattr__(self, name: str) -> Any:
        """Refuses what a backend does not define."""
        raise Unsupported("has none, or none that this benchmark calls")


class TorchComm(Comm):
    """A group of torch.distributed."""

    def __init__(self, seat: Seat, backend: str):
        """Makes the group: all ranks must."""
        super().__init__(seat)
        self.group = dist.new_group(backend=backend)
        self.reduction = REDUCTIONS[seat.reduction][0]

    def all_reduce(self, tensor: Tensor) -> None:
        dist.all_reduce(tensor, self.reduction, group=self.group)

    def broadcast(self, tensor: Tensor) -> None:
        dist.broadcast(tensor, self.seat.root, group=self.group)

    def all_gather(self, output: Tensor, tensor: Tensor) -> None:
        all_gather_single(output, tensor, group=self.group)

    def reduce_scatter(self, output: Tensor, tensor: Tensor) -> None:
        reduce_scatter_single(output, tensor, self.reduction, group=self.group)

    def all_to_all(self, output: Tensor, tensor: Tensor) -> None:
        dist.all_to_all_single(output, tensor, group=self.group)

    def reduce(self, tensor: Tensor) -> None:
        dist.reduce(tensor, self.seat.root, self.reduction, group=self.group)

    def gather(self, outputs: list[Tensor] | None, tensor: Tensor) -> None:
        dist.gather(tensor, outputs, self.seat.root, group=self.group)

    def scatter(self, output: Tensor, tensors: list[Tensor] | None) -> None:
        dist.scatter(output, tensors, self.seat.root, group=self.group)

    def sendrecv(self, output: Tensor, tensor: Tensor) -> None:
        rank, world = self.seat.rank, self.seat.world_size
        sent = dist.isend(tensor, (rank + 1) % world, group=self.group)
        dist.recv(output, (rank - 1) % world, group=self.group)
        if sent:
            sent.wait()

    def barrier(self) -> None:
        dist.barrier(group=self.group)


class MpiComm(Comm):
    """MPI through mpi4py: started by mpirun, on CPU tensors; reduces what numpy knows the type of.

    What makes a memory view of a tensor is part of the call, as it is for whoever uses it.
    """

    def __init__(self, seat: Seat):
        """Takes MPI's world."""
        super().__init__(seat)
        from mpi4py import MPI

        self.world, self.in_place = MPI.COMM_WORLD, MPI.IN_PLACE
        if (self.world.Get_rank(), self.world.Get_size()) != (seat.rank, seat.world_size):
            raise Unsupported("needs ranks that mpirun has started")
        ops = {"sum": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}
        self.op = ops.get(seat.reduction)

    def _numbers(self, tensor: Tensor) -> Any:
        if self.op is None or tensor.dtype in (torch.bfloat16, torch.float16):
            raise Unsupported(f"does not reduce {tensor.dtype} with {self.seat.reduction}")
        return tensor.numpy()

    @staticmethod
    def _bytes(tensor: Tensor) -> Any:
        return tensor.view(torch.uint8).numpy()

    def all_reduce(self, tensor: Tensor) -> None:
        self.world.Allreduce(self.in_place, self._numbers(tensor), self.op)

    def broadcast(self, tensor: Tensor) -> None:
        self.world.Bcast(self._bytes(tensor), self.seat.root)

    def all_gather(self, output: Tensor, tensor: Tensor) -> None:
        given = self.in_place if _overlap(output, tensor) else self._bytes(tensor)
        self.world.Allgather(given, self._bytes(output))

    def reduce_scatter(self, output: Tensor, tensor: Tensor) -> None:
        if _overlap(output, tensor):
            raise Unsupported("leaves the result of an in-place reduce_scatter elsewhere")
        self.world.Reduce_scatter_block(self._numbers(tensor), output.numpy(), self.op)

    def all_to_all(self, output: Tensor, tensor: Tensor) -> None:
        self.world.Alltoall(self._bytes(tensor), self._bytes(output))

    def barrier(self) -> None:
        self.world.Barrier()


def _overlap(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class DeepSpeedComm(Comm):
    """DeepSpeed's shared-memory all-reduce for inference on CPUs: sums, of the whole world."""

    def __init__(self, seat: Seat):
        """Builds its extension, a minute the first time, and joins."""
        super().__init__(seat)
        os.environ.update(RANK=str(seat.rank), WORLD_SIZE=str(seat.world_size))
        os.environ["LOCAL_SIZE"] = str(seat.world_size)
        try:
            extension = self._load() if seat.rank == 0 else None  # the others find it built
        finally:
            dist.barrier()
        (extension or self._load()).initialize(seat.world_size, seat.rank)
        self.call = torch.ops.deepspeed.inference_all_reduce_.default

    @staticmethod
    def _load() -> Any:
        from deepspeed.ops.op_builder import ShareMemCommBuilder

        return ShareMemCommBuilder().load(verbose=False)

    def all_reduce(self, tensor: Tensor) -> None:
        known = (torch.float32, torch.bfloat16, torch.float16)
        if self.seat.reduction != "sum" or tensor.is_cuda or tensor.dtype not in known:
            raise Unsupported(f"does not reduce {tensor.dtype} with {self.seat.reduction}")
        wide = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX")
        if tensor.dtype != torch.float32 and platform.machine() == "x86_64" and not wide:
            raise Unsupported(f"dies in {tensor.dtype} on a CPU without AVX-512")
        self.call(tensor)


COMMS: dict[str, Callable[[Seat], Comm]] = {
    **{name: functools.partial(TorchComm, backend=name) for name in ("pinned", "gloo", "nccl")},
    "mpi": MpiComm,
    "deepspeed": DeepSpeedComm,
}
"""What makes each backend that `--backend` may name."""


def on_all_ranks(attempt: Callable[[], object]) -> str | None:
    """Tries something that may be refused; all ranks must.

    Returns:
        None where no rank was refused; elsewhere why, or that another rank was.
    """
    why = None
    try:
        attempt()
    except (Unsupported, ImportError, RuntimeError, ValueError, TypeError) as error:
        why = (str(error) or repr(error)).splitlines()[0]
    refused = torch.tensor([int(why is not None)])
    dist.all_reduce(refused)
    return why or ("refused on another rank" if refused.item() else None)


def join_all(names: list[str], seat: Seat) -> tuple[dict[str, Comm], dict[str, str]]:
    """Returns the backends that all ranks could join, and why not the others; all ranks must."""
    comms: dict[str, Comm] = {}
    refused = {}
    for name in names:

        def make(name: str = name) -> None:
            comms[name] = COMMS[name](seat)

        why = on_all_ranks(make)
        if why:
            refused[name] = why
            comms.pop(name, None)
    return comms, refused
