// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/gpu_lane.h"

namespace pinnedpg::tp {

void GpuLane::copy(const Region& dst, const Region& src, Toward toward) {
  if (toward == Toward::kStage && dst.bytes() > 0 && !is_on_gpu(src.data)) return gpu_.copy_on_host(dst, src);
  gpu_.copy(dst, src, toward);
}

void GpuLane::arrive(Flag& flag, uint32_t step) {
  gpu_.arrive(flag, step);
  own_.insert(&flag);
}

bool GpuLane::wait(std::span<Flag* const> flags, uint32_t step) {
  awaited_.clear();
  for (Flag* flag : flags) {
    if (own_.count(flag) != 0) continue;
    if (!ahead_ && !flag->is_issued(step)) return false;
    awaited_.push_back(flag);
  }
  return gpu_.wait(awaited_, step);
}

}  // namespace pinnedpg::tp
