// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>

#include "c10d/board.h"
#include "c10d/options.h"
#include "collective/watchdog.h"
#include "memory/segment.h"

namespace pinnedpg {

/// Where the processes of a group find each other.
struct Rendezvous {
  Board board;  ///< of this incarnation: a Store may have served an earlier group of that name
  int rank;
  int world_size;
  c10::intrusive_ptr<Options> options;

  /// Shows this process to the others.
  static Rendezvous join(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
                         c10::intrusive_ptr<Options> options);
  /// Tells the others, who may wait for this rank where they cannot see it, that it will not come. Does not wait for
  /// the Store.
  void leave(const std::string& why) const;
  /// Tells all that the group is aborted; does not wait for the Store either.
  void announce_abort(const std::string& reason) const;
  /// The reason that a rank has announced, as far as the Store can tell.
  std::optional<std::string> find_abort() const;
  /// Makes a segment of that geometry and pins it up.
  std::shared_ptr<Segment> create(const std::string& key, const Geometry& geometry,
                                  std::chrono::milliseconds limit) const;
  /// What another rank has pinned up: the members that its segment is for, which tells a group that is not this rank's
  /// even where the segment is sealed; and the segment, null while or once there is none.
  struct Opened {
    int members = 0;
    std::shared_ptr<Segment> segment;
  };
  Opened open(const std::string& key, std::chrono::milliseconds limit) const;
  /// A barrier of all ranks under that key, which only rank 0 watches: it names the first that has not come within the
  /// limit, or all of them, and the others hear its verdict. Raises GroupError.
  void monitor(const std::string& key, std::chrono::milliseconds limit, bool all) const;
  /// Pins that up, some time soon.
  void tell(const std::string& key, const std::string& value) const;
  /// What another rank has shown of itself.
  Watchdog::Absentee find(int rank, std::chrono::milliseconds limit) const;
};

/// What is known of the ranks that have not come. It asks the Store aside: who patrols must not be held, as it may have
/// other queues to drive.
class Absentees {
 public:
  explicit Absentees(const Rendezvous& rendezvous) : rendezvous_(rendezvous) {}

  /// As of a while ago, and nothing at first.
  Watchdog::Absentee find(int rank);

 private:
  const Rendezvous rendezvous_;
  std::map<int, Watchdog::Absentee> known_;
  int asked_ = 0;
  std::future<Watchdog::Absentee> answer_;  ///< of the rank `asked_`
};

}  // namespace pinnedpg
