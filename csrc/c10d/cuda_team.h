// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "c10d/cuda_fused.h"
#include "c10d/team.h"
#include "device/cuda_probe.h"
#include "device/queue.h"

namespace pinnedpg {

/// Points in the work of several GPUs, one of each.
using CudaMarks = std::vector<std::pair<int, std::shared_ptr<CudaMark>>>;

/// The team of a group's CUDA tensors, `tensors` of each rank: its stage is pinned, and its calls are queued on two
/// streams of each member's GPU by their callers. Nothing here waits for a GPU, but where `by_host`, and for the
/// place of a label with a factor (see Communicator).
class CudaTeam {
 public:
  /// `by_host`: the host is to wait for the flags, and not the GPUs.
  CudaTeam(const Rendezvous& rendezvous, int tensors, int number, bool by_host)
      : by_host_(by_host), team_(rendezvous, tensors, number, true) {}
  /// What is pinned, and the streams, are let go of on a thread of its own: that waits for all GPUs.
  ~CudaTeam();

  Team& team() { return team_; }
  /// As Team's; and pins the stage. All ranks agree on who waits (where a GPU of one cannot, the hosts of all do), on
  /// whether small calls are fused (where each of them has a GPU of its own), and on how large the stage is: no larger
  /// than each can pin.
  void connect(const char* operation, std::chrono::milliseconds timeout, const std::vector<int>& gpus);
  /// After `connect`: calls are to be carried out, and not queued.
  bool by_host() const { return by_host_; }

  /// Whether `connect` has done all.
  bool is_connected();
  /// How much a rank moves in a call that is fused; 0: none is.
  size_t fused_bytes() const;

  /// What has been queued of a call.
  struct Queued {
    uint64_t number = 0;  ///< of the call
    uint32_t step = 0;    ///< its last, or that of the call before it
    bool fused = false;
    CudaMarks done;
  };

  using Streams = std::vector<std::pair<int, void*>>;
  /// The caller's own on those GPUs.
  static Streams current_streams(const std::vector<int>& gpus);

  /// Queues the call's legs behind what is on `streams` (of each GPU of the call, the caller's own) now. Leg i runs on
  /// GPU `devices[i]`. `before` and `after` may queue something on the one stream of each GPU that they get: after all
  /// earlier calls, and after the legs.
  using Beside = std::function<void(const Streams&)>;
  Queued queue(Call& call, const std::vector<int>& devices, const Streams& streams, const Beside& before,
               const Beside& after);

  /// A call as one kernel does it; nothing where that is not to be. Raises ValueError for other GPUs than that
  /// of the first call.
  std::optional<FusedRound> fuse(const Call& call, const std::vector<int>& gpus) const;
  /// A stream behind what is on those now, for a call that its caller's is not to wait for.
  void* side_of(const Streams& streams);
  /// Queues that on the stream: the caller's own, or that one; and what `after` queues there.
  Queued queue_fused(Call& call, FusedRound& round, void* stream, const std::function<void()>& after);
  /// Captures that into the stream's graph.
  void capture_fused(const Call& call, FusedRound& round, void* stream);

  /// Carries out the call's legs: returns once that is done. Leg i runs on GPU `devices[i]`.
  void carry_out(Call& call, const std::vector<int>& devices);

  /// Watches calls to their end, in their order.
  Queue& watched() { return *watched_; }
  /// For whoever watches: apart from that of the threads that make calls.
  Watchdog& watchdog() { return *watchdog_; }
  /// Where calls have been queued.
  std::vector<int> gpus();
  /// Whether nothing is queued any more. The streams of a group that is aborted end in no order. Asks the GPUs, and so
  /// may block. Raises SystemError where one has failed.
  bool is_idle();
  /// For whoever watches. Raises SystemError where that GPU has failed.
  void check_gpu(int gpu);
  /// Looks at the ranks that a call waits for. Raises GroupError.
  void patrol(const Queued& queued);

 private:
  struct Pair {
    explicit Pair(int device) : put(device), get(device) {}
    CudaStream put, get;
  };
  void prepare_fused(const std::vector<int>& gpus);
  /// Pins as much of the stage as can be, and says how much. Raises SystemError: even the least cannot be.
  std::shared_ptr<void> pin();
  /// The host waits until that holds of all ranks.
  void await_ranks(const char* operation, std::chrono::milliseconds timeout, const std::function<bool(int)>& is_there);
  /// That much has been pinned on every rank.
  void shrink(size_t bytes);
  /// The host waits for all ranks to come, and learns how each would wait and what it has pinned: once, in the first
  /// call.
  void meet(const char* operation, std::chrono::milliseconds timeout);
  /// All that is queued later comes after what is on those streams.
  void follow(const Streams& streams, const std::vector<int>& devices);
  /// One stream of each GPU, behind all that the members have queued.
  Streams gather(const std::vector<int>& devices);
  /// The end of all that is queued on that member's last stream on the GPU.
  std::shared_ptr<CudaMark> mark_end(size_t member, int device);
  Pair& streams_of(size_t member, int device);
  /// The flags of those ranks that the others wait for, its own last.
  std::vector<Flag*> late(const Queued& queued);

  bool by_host_;
  Team team_;
  std::mutex connecting_;
  std::mutex queueing_;
  bool connected_ = false;
  std::shared_ptr<void> pinned_;
  std::unique_ptr<FusedCalls> fused_;                                ///< null: calls are not fused
  std::map<std::pair<size_t, int>, std::unique_ptr<Pair>> streams_;  ///< by member and GPU
  /// Of the last call whose end a member has marked.
  struct End {
    int device = -1;
    uint32_t number = 0;
    std::shared_ptr<CudaMark> mark;
  };
  std::map<size_t, End> ends_;  ///< by member
  std::unique_ptr<Watchdog> watchdog_;
  std::map<int, CudaProbe> probes_;   ///< by GPU, for whoever watches
  std::unique_ptr<CudaProbe> asked_;  ///< for `is_idle`
  std::vector<Flag*> gots_;
  const std::shared_ptr<Queue> watched_ = std::make_shared<Queue>();
};

}  // namespace pinnedpg
