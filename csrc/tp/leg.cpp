// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/leg.h"

#include <utility>

#include "base/check.h"
#include "device/threads.h"

namespace pinnedpg::tp {

namespace {

constexpr std::chrono::milliseconds kLookEvery{20};

}  // namespace

void Leg::finish(std::exception_ptr error) {
  kept_.reset();
  if (error == nullptr) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& fault) {
    common_->failure.fail(fault.what());
  }
}

bool HostLeg::advance() {
  common_->failure.check(name());
  return team_.advance(rank_, call_);
}

GpuLeg::~GpuLeg() {
  // The last of a context that was given up. To unpin waits for the GPUs, and this is the thread that lets them go.
  if (common_.use_count() > 1) return;
  try {
    run_aside([common = std::move(common_)] {});
  } catch (const SystemError&) {
    // No thread can be had: it is let go of here.
  }
}

bool GpuLeg::issue() {
  const CurrentDevice current(lane_->device());
  try {
    common_->failure.check(name());
    return queue();
  } catch (const std::exception& fault) {
    common_->failure.fail(fault.what());
    if (begun_) mark_end();
    throw;
  }
}

bool GpuLeg::queue() {
  if (!std::exchange(begun_, true) && order_.after) {
    CudaEvent(lane_->device(), *order_.after).hold(lane_->handle());
  }
  lane_->set_ahead(order_.ahead);
  if (!team_.advance(rank_, call_)) return false;
  step_ = team_.last_step(rank_);
  mark_end();
  if (order_.before) end_->hold(*order_.before);
  return true;
}

void GpuLeg::mark_end() { end_.emplace(lane_->device(), lane_->handle()); }

bool GpuLeg::advance() {
  if (!error_) {
    try {
      return watch();
    } catch (const std::exception& fault) {
      common_->failure.fail(fault.what());  // before flags say what is not so
      error_ = std::current_exception();
    }
  }
  if (end_) {  // of all teams: what comes next on the stream may wait for any
    for (const auto& [devices, team] : common_->teams) team->release();
    if (!is_over()) return false;
  }
  std::rethrow_exception(error_);
}

bool GpuLeg::watch() {
  common_->failure.check(name());
  const auto now = std::chrono::steady_clock::now();
  if (!looked_) team_.watchdog(rank_).begin(name(), call_.timeout);
  // The flag is the cheaper one to look at, but a last wait may come after it.
  if (!team_.is_done(rank_, step_) && looked_ && now - *looked_ < kLookEvery) return false;
  const CurrentDevice current(lane_->device());
  if (end_->is_over()) return true;  // raises what has failed on the GPU
  if (looked_ && now - *looked_ < kLookEvery) return false;
  looked_ = now;
  team_.watchdog(rank_).patrol(team_.late(rank_, step_), step_);
  return false;
}

bool GpuLeg::is_over() {
  try {
    const CurrentDevice current(lane_->device());
    return end_->is_over();
  } catch (const SystemError&) {
    return true;  // the GPU does nothing any more
  }
}

GpuMark::GpuMark(const GpuLane& lane) : device_(lane.device()), mark_(lane.device(), lane.handle()) {}

bool GpuMark::advance() {
  const CurrentDevice current(device_);
  return mark_.is_over();
}

}  // namespace pinnedpg::tp
