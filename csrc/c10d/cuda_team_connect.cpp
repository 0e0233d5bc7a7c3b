// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// How the ranks of a team of GPUs meet, and pin the stage.
#include <algorithm>
#include <set>
#include <thread>

#include "base/interrupt.h"
#include "base/log.h"
#include "c10d/cuda_team.h"
#include "device/device.h"
#include "device/pinned.h"

namespace pinnedpg {

void CudaTeam::connect(const char* operation, std::chrono::milliseconds timeout, const std::vector<int>& gpus) {
  std::lock_guard lock(connecting_);
  if (connected_) return;
  team_.connect(operation, timeout);
  team_.check();
  by_host_ |= !std::all_of(gpus.begin(), gpus.end(), CudaStream::can_wait);
  const Staging& staging = team_.communicator().staging();
  watchdog_ = std::make_unique<Watchdog>(team_.watchdog());
  gots_.clear();
  for (int rank = 0; rank < staging.geometry().world_size; ++rank) gots_.push_back(&staging.got(rank));
  // All have placed their own slots: to pin them touches them.
  await_ranks(operation, timeout, [&](int rank) { return staging.member(rank).presence.load() != Presence::kAbsent; });
  try {
    prepare_fused(gpus);
    pinned_ = pin();
  } catch (const SystemError&) {
    team_.fail(operation, std::current_exception());
  }
  meet(operation, timeout);
  connected_ = true;
}

void CudaTeam::prepare_fused(const std::vector<int>& gpus) {
  const Geometry& geometry = team_.communicator().staging().geometry();
  if (by_host_ || gpus.size() != 1 || geometry.fused_bytes == 0) return;
  if (ends_long_kernels(gpus[0])) return;  // one that waits for a rank may be long
  auto fused = std::make_unique<FusedCalls>(team_.communicator(), gpus[0]);
  {
    std::lock_guard lock(queueing_);
    fused_.swap(fused);
  }
  team_.communicator().staging().member(team_.communicator().first_rank()).gpu = gpu_id(gpus[0]);
}

std::shared_ptr<void> CudaTeam::pin() {
  const Staging& staging = team_.communicator().staging();
  Segment& segment = *team_.segment();
  std::exception_ptr error;  // the first one
  for (size_t bytes = segment.bytes();;) {
    try {
      auto pinned = pin_shared(team_.segment(), segment.data(), bytes);
      for (int member = 0; member < team_.tensors(); ++member) {
        staging.member(team_.communicator().first_rank() + member).pinned = bytes;
      }
      return pinned;
    } catch (const SystemError& fault) {
      if (!error) error = std::current_exception();
      const size_t smaller = Staging::bytes_needed(staging.geometry().within(bytes / 2));
      if (smaller >= bytes) std::rethrow_exception(error);
      PINNEDPG_LOG(kWarn, kShm, "rank ", team_.communicator().first_rank() / team_.tensors(), ": ", fault.what(),
                   "; trying ", smaller, " bytes. Large CUDA tensors are slower then");
      bytes = smaller;
    }
  }
}

void CudaTeam::shrink(size_t bytes) {
  if (bytes >= team_.segment()->bytes()) return;
  team_.communicator().shrink(team_.communicator().staging().geometry().within(bytes));
}

void CudaTeam::await_ranks(const char* operation, std::chrono::milliseconds timeout,
                           const std::function<bool(int)>& is_there) {
  watchdog_->begin(operation, timeout);
  for (int rank = 0; rank < static_cast<int>(gots_.size()); ++rank) {
    while (!is_there(rank)) {
      watchdog_->patrol({&gots_[static_cast<size_t>(rank)], 1}, 1);
      check_interrupts();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
}

void CudaTeam::meet(const char* operation, std::chrono::milliseconds timeout) {
  const Staging& staging = team_.communicator().staging();
  for (int member = 0; member < team_.tensors(); ++member) {
    const int rank = team_.communicator().first_rank() + member;
    staging.member(rank).waits.store(by_host_ ? Waits::kHost : Waits::kGpu);
  }
  await_ranks(operation, timeout, [&](int rank) { return staging.member(rank).waits.load() != Waits::kUnknown; });
  std::set<GpuId> ids;
  size_t pinned = SIZE_MAX;
  for (int rank = 0; rank < staging.geometry().world_size; ++rank) {
    by_host_ |= staging.member(rank).waits.load() == Waits::kHost;
    ids.insert(staging.member(rank).gpu);
    pinned = std::min(pinned, staging.member(rank).pinned.load());
  }
  shrink(pinned);
  const bool apart = ids.size() == static_cast<size_t>(staging.geometry().world_size) && !ids.contains(GpuId{});
  team_.segment()->seal();  // all have mapped it
  if (!by_host_ && apart && staging.geometry().fused_bytes > 0) return;
  std::unique_ptr<FusedCalls> unused;  // let go of after the lock: that waits for the GPU
  std::lock_guard lock(queueing_);
  unused = std::move(fused_);
}

}  // namespace pinnedpg
