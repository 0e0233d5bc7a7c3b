// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/leg.h"

#include <utility>

#include "base/check.h"
#include "device/releaser.h"
#include "device/threads.h"

namespace pinnedpg::tp {

namespace {

constexpr std::chrono::milliseconds kLookEvery{20};

/// Whether the GPU has come to the mark, for which a thread waits that may block; where none can be had it is asked
/// here. Raises SystemError where the GPU has failed.
bool has_come(const std::shared_ptr<CudaEvent>& mark, std::future<void>& waits) {
  if (!waits.valid()) {
    try {
      waits = aside([mark] { mark->synchronize(); });
    } catch (const SystemError&) {
      return mark->is_over();
    }
  }
  if (!is_ready(waits)) return false;
  waits.get();
  return true;
}

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
    break_off();
    throw;
  }
}

void GpuLeg::break_off() {
  if (!begun_ || end_) return;
  try {
    const CurrentDevice current(lane_->device());
    end_ = lane_->mark();
  } catch (const SystemError&) {
    // The GPU does nothing any more.
  }
}

bool GpuLeg::queue() {
  if (!std::exchange(begun_, true) && order_.after) {
    CudaEvent(lane_->device(), *order_.after).hold(lane_->handle());
  }
  lane_->set_ahead(order_.ahead);
  if (!team_.advance(rank_, call_)) return false;
  step_ = team_.last_step(rank_);
  end_ = lane_->mark();
  if (order_.before) end_->hold(*order_.before);
  return true;
}

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
    if (!is_let_go()) return false;
  }
  std::rethrow_exception(error_);
}

void GpuLeg::finish(std::exception_ptr error) {
  let_go_aside(std::exchange(kept_, nullptr));  // this may be their last holder
  Leg::finish(error);
}

bool GpuLeg::watch() {
  common_->failure.check(name());
  const auto now = std::chrono::steady_clock::now();
  if (!looked_) team_.watchdog(rank_).begin(name(), call_.timeout);
  if (team_.is_over(rank_, step_, call_.legs[0].back().closes)) return true;
  lane_->check_gpu();
  if (looked_ && now - *looked_ < kLookEvery) return false;
  looked_ = now;
  team_.watchdog(rank_).patrol(team_.late(rank_, step_), step_);
  return false;
}

bool GpuLeg::is_let_go() {
  try {
    return has_come(end_, let_go_);
  } catch (const SystemError&) {
    return true;  // the GPU does nothing any more
  }
}

bool GpuMark::advance() { return has_come(mark_, over_); }

}  // namespace pinnedpg::tp
