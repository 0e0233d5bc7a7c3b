// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/thread_pool.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tp/barrier.h"
#include "tp/host_queue.h"
#include "tp/leg.h"

namespace pinnedpg::tp {

/// One exchange of a call, for each of its legs.
struct Motion {
  Signature signature;
  std::function<Exchange(int rank)> leg;
};

/// A checked call, ready to be queued.
struct Plan {
  const char* function;
  Team* team;
  int t_device = -1;  ///< whose leg; -1: all
  std::vector<Motion> motions;
  std::vector<int> buffers;         ///< all that the call's tensors or its stage lie in
  std::vector<at::Tensor> tensors;  ///< kept until the call is done
  Barrier* barrier = nullptr;       ///< host threads meet there after the first motion is queued
};

/// Queues calls: the only code of the raw API that orders anything. It decides who is in a call (teams), in which order
/// calls enter the devices' queues, and which calls of other teams one must wait for. It never waits for a peer.
class Issuer {
 public:
  using Queues = std::map<int, std::shared_ptr<HostQueue>>;
  struct Devices {
    Queues queues;         ///< of each its stream or, of a GPU, what watches that
    Team::GpuLanes lanes;  ///< of all or none
  };

  Issuer(Devices devices, std::vector<at::Tensor> buffers, std::chrono::milliseconds timeout);

  const std::vector<int>& devices() const { return devices_; }
  bool has(int device) const { return queues_.count(device) != 0; }
  bool on_gpus() const { return !lanes_.empty(); }

  /// Makes the team of those devices (in rising order), unless there is one: before the first call, since to pin its
  /// memory may wait for the GPUs.
  void make_team(const std::vector<int>& devices);
  Team& team(const std::vector<int>& devices) { return *common_->teams.at(devices); }

  /// Raises ValueError if a leg does not fit those of its peers, GroupError if the context has failed; else queues all
  /// of it. Raises GroupError, with all queued, when the barrier is not met.
  void issue(Plan plan);

  /// Waits until all calls on that buffer are done, or, with -1, all that is queued on the devices. Raises what failed.
  void synchronize(int buffer, const Patience& patience);

  void set_multithreaded(bool multithreaded);

  /// Waits for the work in flight; gives up at once calls that lack a leg, since it cannot come any more. After it,
  /// every call raises.
  void close();

  /// Makes all unfinished work of the context fail.
  void abandon(const std::string& reason) { common_->failure.fail(reason); }

 private:
  /// What a device does in a call.
  struct Part {
    int device;
    std::vector<std::shared_ptr<Leg>> legs;  ///< one per motion, like the following
    std::vector<Signature> signatures;
    std::vector<size_t> steps;
  };
  using Locks = std::vector<std::unique_lock<std::mutex>>;

  Locks lock_queues(const std::vector<int>& devices) const;
  void check_open(const Plan& plan) const;
  Part prepare(const Plan& plan, int device, const Kept& kept) const;
  std::shared_ptr<Leg> leg(const Plan& plan, int device, size_t motion, Call call, const Kept& kept) const;
  std::vector<Exchange::After> earlier_uses(const Plan& plan, int device) const;
  void record(const Plan& plan, const std::vector<Part>& parts);
  void push(const Plan& plan, const std::vector<Part>& parts, size_t motion);
  void push_all(const Plan& plan, const std::vector<Part>& parts);
  void push_by_threads(c10::ThreadPool& pool, const Plan& plan, const std::vector<Part>& parts);
  uint64_t last_place(int device, int buffer);
  bool drain();

  const Queues queues_;
  const Team::GpuLanes lanes_;
  const std::vector<int> devices_;
  const std::chrono::milliseconds timeout_;
  const std::shared_ptr<Common> common_ = std::make_shared<Common>();

  std::mutex mutex_;  ///< guards the teams' ledgers, and what is below
  bool closed_ = false;
  std::map<int, std::vector<uint64_t>> places_;  ///< by device: its last task for each buffer, then its last of all
  std::shared_ptr<c10::ThreadPool> pool_;        ///< null: the caller's own thread issues all legs
};

}  // namespace pinnedpg::tp
