// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <memory>
#include <vector>

#include "collective/communicator.h"
#include "device/host_stream.h"
#include "tp/failure.h"
#include "tp/ledger.h"

namespace pinnedpg::tp {

/// The devices that take part in the same calls, each as one member of a group over private memory. A member's legs are
/// carried on by its own device's queue, and only the engine's flags order one device after another.
class Team {
 public:
  /// `devices` in rising order: a member's rank is its place there.
  Team(std::vector<int> devices, size_t slot_bytes, size_t buffers);

  const std::vector<int>& devices() const { return devices_; }
  /// Of a device of the team.
  int rank_of(int device) const;
  const Geometry& geometry() const { return staging_.geometry(); }

  /// Carries a leg on; see Communicator::advance. One thread at a time for a rank.
  bool advance(int rank, Call& call);

  /// What another team waits for before it overwrites what this one's members have touched until that step.
  Exchange::After all_got(uint64_t step) const;

  Ledger ledger;

 private:
  /// A device's seat: which lanes it has is all that tells one kind of device from another. A host device's poll, so
  /// its queue comes back as often as needed; those of a GPU would take a leg whole when it is issued.
  struct Member {
    Member(std::shared_ptr<void> memory, Staging staging, int rank, Watchdog::Names names);
    Communicator communicator;
    HostStream stream;
    Lanes lanes;
  };

  const std::vector<int> devices_;
  const std::shared_ptr<Segment> segment_;
  const Staging staging_;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace pinnedpg::tp
