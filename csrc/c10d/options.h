// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "c10d/torch_release.h"
#include "memory/staging.h"

namespace pinnedpg {

/// What a user may choose of a group. The first rank's choice counts for all: it makes the segment.
struct Options : c10d::Backend::Options {
  Options() : c10d::Backend::Options("pinned") {}

  int64_t slot_bytes = 0;  ///< of one rank for one step; 0: 128 KiB; 1 MiB where ranks outnumber cores; 4 MiB on GPUs
  int64_t depth = 0;       ///< slots of one rank, a power of two from 4; 0: 16; 4 where slots are that large
  int64_t one_shot_bytes = -1;      ///< all_reduce takes one exchange up to here; -1: 1 MiB / world_size^2, CUDA 8 MiB
  int64_t budget_bytes = 32 << 20;  ///< shared memory of a group; CUDA tensors add 3/2 of it; slots shrink to fit
  int64_t fused_bytes = 1 << 20;    ///< of a rank in a call with CUDA tensors: up to here it is one kernel; 0: never
  int64_t word_bytes = 64 << 10;    ///< of these, up to here each word carries a flag; above, each chunk has one
  bool host_waits = false;          ///< of calls with CUDA tensors: the host waits for the peers, and not the GPUs

#ifdef PINNEDPG_TORCH_HAS_OPTIONS_CLONE
  c10::intrusive_ptr<c10d::Backend::Options> clone() const override { return c10::make_intrusive<Options>(*this); }
#endif

  bool timeout_chosen = false;  ///< `timeout` was given with the options, so init_process_group's does not replace it

  /// The geometry for that many ranks, within so many quarters of the budget: two are for calls of one tensor, one
  /// for calls of several, one for messages; of CUDA tensors five and one. Raises ValueError for a choice that cannot
  /// be.
  Geometry geometry(int world_size, int quarters = 2, bool on_gpus = false) const;
};

}  // namespace pinnedpg
