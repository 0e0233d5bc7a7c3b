// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "collective/communicator.h"
#include "device/host_stream.h"
#include "tp/gpu_lane.h"
#include "tp/ledger.h"

namespace pinnedpg::tp {

/// The devices that take part in the same calls, each as one member of a group over private memory. A member's legs are
/// carried on by its own device's queue, and only the engine's flags order one device after another.
class Team {
 public:
  /// The streams of GPUs, by device; empty: the devices are the host's.
  using GpuLanes = std::map<int, std::shared_ptr<GpuLane>>;

  /// `devices` in rising order: a member's rank is its place there. Raises SystemError.
  Team(std::vector<int> devices, size_t slot_bytes, size_t buffers, const GpuLanes& lanes);

  const std::vector<int>& devices() const { return devices_; }
  bool has(int device) const { return std::binary_search(devices_.begin(), devices_.end(), device); }
  /// Of a device of the team.
  int rank_of(int device) const;
  const Geometry& geometry() const { return staging_.geometry(); }

  /// Carries a leg on; see Communicator::advance. One thread at a time for a rank.
  bool advance(int rank, Call& call);

  /// For whoever watches a leg that a GPU carries out: the leg's last step, and whether it has come so far; with all
  /// others, where they close the call together. It makes no call of CUDA's, since such a call may have to wait for
  /// all that is queued, the leg included.
  uint32_t last_step(int rank) const { return members_[static_cast<size_t>(rank)]->communicator.got_step(); }
  bool is_over(int rank, uint32_t step, bool closes) const;
  Watchdog& watchdog(int rank) { return members_[static_cast<size_t>(rank)]->watchdog; }
  /// The flags of those members that the leg waits for, its own last.
  std::vector<Flag*> late(int rank, uint32_t step) const;
  /// Lets go whatever waits on a GPU; to be repeated until that is over.
  void release();

  /// What another team waits for before it overwrites what this one's members have touched until that step.
  Exchange::After all_got(uint64_t step) const;

  Ledger ledger;

 private:
  /// A device's seat: which lanes it has is all that tells one kind of device from another. A host device's poll, so
  /// its queue comes back as often as needed; those of a GPU take a leg whole when it is issued.
  struct Member {
    Member(std::shared_ptr<void> memory, Staging staging, int rank, const Watchdog::Names& names,
           std::shared_ptr<GpuLane> gpu);
    Communicator communicator;
    Watchdog watchdog;  ///< of legs that a GPU carries out: the communicator's is the issuing threads'
    HostStream stream;
    const std::shared_ptr<GpuLane> gpu;  ///< null: a host device
    Lanes lanes;
  };

  const std::vector<int> devices_;
  const std::shared_ptr<Segment> segment_;
  const std::shared_ptr<void> pinned_;
  const Staging staging_;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace pinnedpg::tp
