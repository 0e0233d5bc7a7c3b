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
#include "tp/failure.h"
#include "tp/host_queue.h"
#include "tp/team.h"

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

  Issuer(Queues queues, size_t buffers, std::chrono::milliseconds timeout);
  ~Issuer();

  const std::vector<int>& devices() const { return devices_; }
  bool has(int device) const { return queues_.count(device) != 0; }

  /// The team of those devices (in rising order); made when first asked for.
  Team& team(const std::vector<int>& devices);

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
  void abandon(const std::string& reason) { failure_->fail(reason); }

 private:
  struct Leg {
    int device;
    std::vector<std::shared_ptr<Task>> tasks;  ///< one per motion, like the following
    std::vector<Signature> signatures;
    std::vector<size_t> steps;
  };
  using Teams = std::map<std::vector<int>, std::unique_ptr<Team>>;
  using Locks = std::vector<std::unique_lock<std::mutex>>;
  class LegTask;

  Locks lock_queues(const std::vector<int>& devices) const;
  void check_open(const Plan& plan) const;
  Leg prepare(const Plan& plan, int device, const std::shared_ptr<std::vector<at::Tensor>>& kept) const;
  std::vector<Exchange::After> earlier_uses(const Plan& plan, int device) const;
  void record(const Plan& plan, const std::vector<Leg>& legs);
  void push(const Plan& plan, const Leg& leg, size_t begin, size_t end);
  void push_all(const Plan& plan, const std::vector<Leg>& legs);
  void push_by_threads(c10::ThreadPool& pool, const Plan& plan, const std::vector<Leg>& legs);
  bool drain();

  const Queues queues_;
  const std::vector<int> devices_;
  const size_t buffers_;
  const std::chrono::milliseconds timeout_;
  const std::shared_ptr<Failure> failure_ = std::make_shared<Failure>();
  const std::shared_ptr<Teams> teams_ = std::make_shared<Teams>();  ///< shared with the tasks: they wait on its flags

  std::mutex mutex_;  ///< guards the teams, their ledgers, and what is below
  bool closed_ = false;
  std::map<int, std::vector<uint64_t>> places_;  ///< by device: its last task for each buffer, then its last of all
  std::shared_ptr<c10::ThreadPool> pool_;        ///< null: the caller's own thread issues all legs
};

}  // namespace pinnedpg::tp
