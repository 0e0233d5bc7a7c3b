// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/gpu_lane.h"

namespace pinnedpg::tp {

void GpuLane::copy(const Region& dst, const Region& src, Toward toward) {
  if (toward == Toward::kStage && dst.bytes() > 0 && !is_on_gpu(src.data)) return gpu_.copy_on_host(dst, src);
  gpu_.copy(dst, src, toward);
}

std::shared_ptr<CudaEvent> GpuLane::mark() {
  std::unique_ptr<CudaEvent> event;
  {
    std::lock_guard lock(spares_->mutex);
    if (!spares_->events.empty()) {
      event = std::move(spares_->events.back());
      spares_->events.pop_back();
    }
  }
  if (!event) event = std::make_unique<CudaEvent>(device_);
  event->record(gpu_.handle());
  return {event.release(), [spares = spares_](CudaEvent* done) {
            std::lock_guard lock(spares->mutex);
            spares->events.emplace_back(done);
          }};
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
