// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "c10d/cuda_team.h"
#include "c10d/work.h"

namespace pinnedpg {

/// A call that GPUs carry out. Who waits for it makes the current streams wait, and not the host.
class WorkCuda final : public WorkPinned {
 public:
  using WorkPinned::WorkPinned;

  /// Its end on each GPU: before anyone can wait for it. `control`: of the group, where another one may end it.
  void set_done(CudaMarks done, std::shared_ptr<const Control> control) {
    done_ = std::move(done);
    control_ = std::move(control);
  }

  /// With a time-out the host waits for the end, too.
  void wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) override;
  bool isCompleted() override;
  void synchronize() override { hold_streams(done_); }
  /// Completed at once, with an error where the call is known to have failed: whoever uses its value has the current
  /// streams wait.
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;

  /// What is queued on the current stream of each GPU later comes after the marks.
  static void hold_streams(const CudaMarks& marks);

 private:
  CudaMarks done_;
  std::shared_ptr<const Control> control_;
  c10::intrusive_ptr<c10::ivalue::Future> stream_future_;
};

}  // namespace pinnedpg
