# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Saves a checkpoint from a background process, under torchrun: checkpoint_process.py FOLDER.

That process makes a group of its own, always over gloo (torch's choice); ours carries the plan and
where to meet. With DCP_USE_PREFIX_STORE=1 it meets in torchrun's store: else torch looks for a free
port first, which another program may take.
"""

import sys

import torch.distributed as dist
from checkpoints import assert_is, load, sharded
from torch.distributed.checkpoint import async_save
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

NUMBERS = (6, 7)

if __name__ == "__main__":
    dist.init_process_group("pinned")
    for number in NUMBERS:
        future = async_save(
            sharded(number),
            checkpoint_id=f"{sys.argv[1]}/{number}",
            async_checkpointer_type=AsyncCheckpointerType.PROCESS,
        )
        dist.barrier()  # the group stays free for others
        future.result()
    for number in NUMBERS:
        assert_is([load(f"{sys.argv[1]}/{number}")], number)
    print(f"rank {dist.get_rank()}: as saved")
    dist.destroy_process_group()
