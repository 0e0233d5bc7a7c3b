// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

namespace pinnedpg {

/// Several calls as one work: over when all are, with the first error in their order.
class WorkAll final : public c10d::Work {
 public:
  WorkAll(int rank, std::vector<c10::intrusive_ptr<c10d::Work>> works);

  bool isCompleted() override;
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override;
  void synchronize() override {}
  /// The outputs of all calls, one after the other; so is the future's value.
  std::vector<at::Tensor> result() override;
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  /// That of the call which took longest.
  float getDuration() const override;
  /// That of the last call.
  uint64_t getSequencenumber() const override;

 private:
  const std::vector<c10::intrusive_ptr<c10d::Work>> works_;
};

}  // namespace pinnedpg
