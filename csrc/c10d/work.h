// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "c10d/torch_release.h"

namespace pinnedpg {

/// A call that is under way or done. It runs whether or not anyone keeps or waits for it.
class WorkPinned : public c10d::Work {
 public:
  /// Not recorded by c10d's own means, which end with the work: see Profiled.
  WorkPinned(int rank, c10d::OpType op, const char* name, uint64_t sequence, std::chrono::milliseconds timeout,
             std::vector<at::Tensor> outputs)
      : Work(rank, op), name_(name), sequence_(sequence), timeout_(timeout), outputs_(std::move(outputs)) {}

  /// Waits without a limit of its own (0 or less): the call itself ends at its group's time-out. A shorter wait that is
  /// over raises and leaves the call running.
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) final;
  /// The same until a point in time; `timeout` is what the user has asked for, for the error's text.
  virtual void wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout);
  void synchronize() override {}
  /// Already while a future that was asked for completes, and its callbacks run.
  bool isCompleted() override;
  std::vector<at::Tensor> result() override;
  /// Its value is the list of output tensors.
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  /// Milliseconds from the call to its end.
  float getDuration() const override;
  uint64_t getSequencenumber() const override { return sequence_; }
#ifdef PINNEDPG_TORCH_HAS_WORK_TIMEOUT
  std::chrono::milliseconds getTimeout() const override { return timeout_; }
#endif

  /// The call is over: with an error, or well.
  void complete(std::exception_ptr error);

 protected:
  const std::vector<at::Tensor>& outputs() const { return outputs_; }
  virtual c10::intrusive_ptr<c10::ivalue::Future> make_future() const;
  /// Completes the future, once the call is over.
  virtual void settle_future();
  [[noreturn]] void throw_timed_out(std::chrono::milliseconds timeout) const;

 private:
  const char* name_;
  const uint64_t sequence_;
  const std::chrono::milliseconds timeout_;  ///< of the call
  const std::vector<at::Tensor> outputs_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;  ///< made for the first who asks
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point ended_;
  bool over_ = false;  ///< with `exception_`; a future asked for by now completes before waits end
};

}  // namespace pinnedpg
