// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/leg.h"

#include <utility>

#include "base/check.h"
#include "device/threads.h"

namespace pinnedpg::tp {

namespace {

constexpr std::chrono::milliseconds kLookEvery{20};

/// Waits for the mark on a thread that may block. Raises SystemError where none can be had.
std::future<void> await_aside(std::shared_ptr<CudaEvent> mark) {
  return aside([mark = std::move(mark)] { mark->synchronize(); });
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
    if (begun_) end_ = lane_->mark();
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
  if (!let_go_.valid()) {
    try {
      let_go_ = await_aside(end_);
    } catch (const SystemError&) {
      return false;  // no thread can be had yet
    }
  }
  if (!is_ready(let_go_)) return false;
  try {
    let_go_.get();
  } catch (const SystemError&) {
    // The GPU does nothing any more.
  }
  return true;
}

bool GpuMark::advance() {
  if (!over_.valid()) over_ = await_aside(std::exchange(mark_, nullptr));
  if (!is_ready(over_)) return false;
  over_.get();
  return true;
}

}  // namespace pinnedpg::tp
