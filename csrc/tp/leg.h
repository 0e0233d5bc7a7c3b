// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "device/queue.h"
#include "tp/failure.h"
#include "tp/team.h"

namespace pinnedpg::tp {

using Kept = std::shared_ptr<std::vector<at::Tensor>>;

/// What all legs of a context share, and keep while they are under way.
struct Common {
  std::vector<at::Tensor> buffers;
  std::map<std::vector<int>, std::unique_ptr<Team>> teams;
  Failure failure;
};

/// One exchange of one leg, in its device's queue.
class Leg : public Task {
 public:
  Leg(std::shared_ptr<Common> common, Team& team, int rank, Call call, Kept kept)
      : common_(std::move(common)), team_(team), rank_(rank), call_(std::move(call)), kept_(std::move(kept)) {}

  /// Queues on a GPU, by the thread that makes the call and before the leg enters its device's queue. False: what it
  /// waits for comes first; come again. Raises GroupError, and then the context has failed.
  virtual bool issue() { return true; }
  /// The call has failed: what the leg has queued by now is all of it.
  virtual void break_off() {}

  void finish(std::exception_ptr error) override;

 protected:
  const char* name() const { return call_.label.name(); }

  std::shared_ptr<Common> common_;
  Team& team_;
  const int rank_;
  Call call_;
  Kept kept_;
};

/// A host device's: its queue carries it out.
class HostLeg final : public Leg {
 public:
  using Leg::Leg;
  bool advance() override;
};

/// A GPU's: queued there when it is issued. Its device's queue only watches it to its end: keeps its tensors, looks at
/// the peers, and lets the GPU go where the leg is in vain.
class GpuLeg final : public Leg {
 public:
  /// In which order the leg comes with others' work.
  struct Order {
    std::optional<void*> after;   ///< the stream whose work it follows, beside its lane's own; nothing: none
    std::optional<void*> before;  ///< the stream whose later work follows it
    bool ahead = false;           ///< its peers may be issued later
  };

  GpuLeg(std::shared_ptr<Common> common, Team& team, int rank, Call call, Kept kept, std::shared_ptr<GpuLane> lane,
         const Order& order)
      : Leg(std::move(common), team, rank, std::move(call), std::move(kept)), lane_(std::move(lane)), order_(order) {}
  ~GpuLeg() override;

  bool issue() override;
  void break_off() override;
  bool advance() override;
  void finish(std::exception_ptr error) override;

 private:
  bool queue();
  bool watch();
  bool is_let_go();

  const std::shared_ptr<GpuLane> lane_;
  const Order order_;
  bool begun_ = false;
  std::shared_ptr<CudaEvent> end_;  ///< null: nothing is queued
  uint32_t step_ = 0;               ///< its last
  std::optional<std::chrono::steady_clock::time_point> looked_;
  std::exception_ptr error_;
  std::future<void> let_go_;
};

/// Is over once the GPU has come to the mark.
class GpuMark final : public Task {
 public:
  explicit GpuMark(std::shared_ptr<CudaEvent> mark) : mark_(std::move(mark)) {}
  bool advance() override;
  void finish(std::exception_ptr) override {}

 private:
  const std::shared_ptr<CudaEvent> mark_;
  std::future<void> over_;
};

}  // namespace pinnedpg::tp
