# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Contexts of the raw API on GPUs: on one with several shares, on two where there are two."""

import torch
from tp_rig import Rig, even

COUNT = torch.cuda.device_count()
GPUS = [0, 1] if COUNT > 1 else [0]
SHARES = even([0, 1]) if COUNT > 1 else even([0, 0])
CYCLES_PER_S = 2e9
LATE_S = 0.05


def spin(stream, seconds=LATE_S):
    with torch.cuda.stream(stream):
        torch.cuda._sleep(int(seconds * CYCLES_PER_S))


class CudaRig(Rig):
    """`current`: streams of the caller's, beside the context's."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.current = {device: torch.cuda.Stream(device) for device in self.devices}

    def stream(self, device):
        return torch.cuda.Stream(device)

    def buffer(self, size):
        return torch.zeros(size, dtype=torch.uint8, pin_memory=True)

    def put(self, tensor, device):
        return tensor.to(f"cuda:{device}")

    def delay(self, device, seconds=LATE_S):
        spin(self.streams[device], seconds)

    def fill(self, stream, tensor, value):
        """Late, on that stream."""
        spin(stream)
        with torch.cuda.stream(stream):
            tensor.fill_(value)


class on_streams:  # noqa: N801
    """Makes one stream of each GPU current."""

    def __init__(self, streams):
        self.contexts = [torch.cuda.stream(stream) for stream in streams.values()]

    def __enter__(self):
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *error):
        for context in reversed(self.contexts):
            context.__exit__(*error)
