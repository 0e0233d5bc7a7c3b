// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <future>
#include <memory>

#include "c10d/cuda_team.h"
#include "c10d/tensors.h"
#include "c10d/work.h"

namespace pinnedpg {

/// A call that its GPUs carry out, until they have: keeps its tensors, compares its label with the others', and looks
/// at the peers. Where it is in vain it lets go the streams that wait. It makes no call of CUDA's: such a call waits
/// where another thread loads a kernel, and that may wait for what is to be let go of here.
class CudaCall final : public Task {
 public:
  /// `work` may be null.
  CudaCall(std::shared_ptr<CudaTeam> team, const Label& label, std::chrono::milliseconds timeout,
           CudaTeam::Queued queued, const Tensors& tensors, c10::intrusive_ptr<WorkPinned> work);

  bool advance() override;
  /// Somebody on the host may wait for its end: who has its work, or needs the place of its factor.
  bool is_urgent() const override { return urgent_; }
  void finish(std::exception_ptr error) override;

 private:
  void watch();
  bool is_over();
  bool is_idle();

  std::shared_ptr<CudaTeam> team_;
  const char* const name_;
  const std::chrono::milliseconds timeout_;
  CudaTeam::Queued queued_;
  Tensors tensors_;
  c10::intrusive_ptr<WorkPinned> work_;
  const bool urgent_;
  std::exception_ptr error_;
  std::future<bool> idle_;
  bool begun_ = false;
  bool compared_ = false;
};

}  // namespace pinnedpg
