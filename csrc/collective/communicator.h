// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "collective/exchange.h"
#include "collective/membership.h"
#include "collective/watchdog.h"
#include "memory/segment.h"

namespace pinnedpg {

/// One call of a communicator on its way: what each local member exchanges, and how far that has come.
struct Call {
  /// The exchanges of one member, one dependent on the other; members and ranks have equally many, in as many rounds.
  using Leg = std::pmr::vector<Exchange>;
  using Legs = std::pmr::vector<Leg>;

  explicit Call(Memory* memory = std::pmr::get_default_resource()) : legs(memory) {}

  Label label;
  std::chrono::milliseconds timeout{0};
  Legs legs;
  /// When all is done: replaces `legs` by what follows from it, or returns false. (all_to_all learns its sizes first.)
  std::function<bool(Legs& legs)> next;

  /// Where the motion stands: turn t puts chunk t - k of exchange k and gets its chunk t - k - 1. So a put runs ahead
  /// of the get before it, and each exchange follows the one it depends on a chunk behind.
  struct Cursor {
    size_t turn = 0;
    size_t exchange = 0;
    bool gets = false;
    size_t member = 0;
    bool compared = false;  ///< the labels of all ranks
    bool begun = false;
  } at;
};

/// The membership of one or several ranks that one thread drives: the step, the order of waits, and nothing else in the
/// house that synchronises. Calls come one after the other, on all ranks in the same order.
class Communicator {
 public:
  /// For the ranks [first_rank, first_rank + local_count) of the staging; keeps `memory` mapped.
  Communicator(std::shared_ptr<void> memory, Staging staging, int first_rank, int local_count,
               Watchdog::Lookup lookup = {}, Watchdog::Names names = {});
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// Carries the call on, on the lanes of each local member. False: a stream that is polled is held; come again. True:
  /// all of it is queued (and, on the host, done). Raises GroupError, and then has aborted the group.
  bool advance(Call& call, std::span<const Lanes> lanes);

  /// Queues all of a call on lanes that only queue, and returns its last step. What compares the labels is then
  /// `compare_queued`: the peers may be calls behind. Blocks only where one of them is kQueuedCalls behind (with a
  /// factor: its GPUs are). Raises GroupError, and then has aborted the group.
  uint32_t queue(Call& call, std::span<const Lanes> lanes);
  /// For a call that is carried out in one kernel: as `queue`, but queues nothing.
  uint32_t announce(Call& call);
  /// From any thread: false while some rank has yet to make its call of that number. Raises GroupError where the labels
  /// differ, and then has aborted the group.
  bool compare_queued(uint64_t number);
  /// That call is over on this side's GPUs, and so are those before it.
  void end_queued(uint64_t number);
  /// The group is aborted: lets go whatever waits on a GPU for a step up to `step`. To be repeated until that is over,
  /// since a peer's GPU may still move its flags.
  void release_queued(uint32_t step);
  static constexpr uint64_t kQueuedCalls = 16;

  /// Before the first call, on all ranks: the slots get smaller.
  void shrink(const Geometry& geometry) { staging_.shrink(geometry); }

  void abort(const std::string& reason) { abort_group(staging_.control(), reason); }

  const std::shared_ptr<void>& memory() const { return memory_; }
  const Staging& staging() const { return staging_; }
  Watchdog& watchdog() { return watchdog_; }
  int first_rank() const { return first_rank_; }
  int local_count() const { return local_count_; }
  bool is_local(int rank) const { return rank >= first_rank_ && rank < first_rank_ + local_count_; }
  uint64_t call_count() const { return calls_; }
  /// The last one queued.
  uint32_t got_step() const { return got_step_; }

 private:
  void begin(Call& call);
  void enter(Call& call);
  /// For the label of that call: waits until no rank needs what lies there.
  void await_place(const Call& call, uint64_t number);
  bool needs_place(int rank, uint64_t number) const;
  void find_siblings();
  void await_issued(const std::vector<Flag*>& flags, uint32_t step);
  void find_factors(const Label& label, size_t place);
  [[noreturn]] void misfit(size_t rank, size_t place);
  bool move(Call& call, std::span<const Lanes> lanes);
  bool queue_puts(const Call& call, const Exchange& exchange, size_t chunk, Stream& stream);
  bool queue_gets(Call& call, const Exchange& exchange, size_t chunk, Stream& stream);
  void queue_reduction(const Exchange& exchange, const Round& round, Stream& stream);
  void compare_labels(Call& call);

  std::shared_ptr<void> memory_;
  Staging staging_;
  const Membership membership_;
  const int first_rank_;
  const int local_count_;
  Watchdog watchdog_;
  std::vector<Flag*> puts_, gots_;  ///< of all ranks, by rank
  uint32_t put_step_ = 0;           ///< the last one queued
  uint32_t got_step_ = 0;
  uint64_t calls_ = 0;
  std::mutex comparing_;
  std::vector<int> siblings_;           ///< ranks of other threads of this process, where calls are queued on GPUs
  std::vector<const double*> factors_;  ///< by rank, of the call under way if it is a PREMUL_SUM; else empty
  std::vector<Region> sources_;         ///< of the reduction being queued; kept so that a call allocates nothing for it
};

}  // namespace pinnedpg
