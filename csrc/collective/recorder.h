// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "collective/communicator.h"

namespace pinnedpg {

/// A part of a named memory: [begin, end) bytes of "slots 2" (rank 2's ring of slots) or of "out 0" (a rank's tensor).
struct Span {
  std::string space;
  size_t begin, end;
};

/// One verb that a rank queued on a lane, by name: for the schedule checker and for `pinnedpg.trace`.
struct Event {
  int rank;
  std::string lane;
  std::string verb;
  std::vector<Span> reads, writes;
  std::vector<std::string> flags;  ///< "put 1": what rank 1 sets when it has put
  uint32_t step;
};

/// Memory that exists by name alone: nothing is read or written while recording.
struct Space {
  std::string name;
  std::byte* data;
  size_t bytes;
};

/// Stand-in memory of a rank's tensor: an address that nothing else has.
inline std::byte* imaginary(int rank, int tensor) {
  return reinterpret_cast<std::byte*>((uint64_t{1} << 60) + (static_cast<uint64_t>(rank) << 48) +
                                      (static_cast<uint64_t>(tensor) << 44));
}

/// What every rank queues for `calls` calls in a row, rank by rank in program order. `leg(rank, call)` gives its
/// exchanges. With `two_lanes`, puts and gets go to lanes of their own, as on a GPU; else to one, as on the host.
std::vector<Event> record(const Geometry& geometry, int calls, bool two_lanes, const std::vector<Space>& spaces,
                          const std::function<Call::Leg(int rank, int call)>& leg);

/// The collectives of c10d by name ("all_reduce") for `bytes` bytes of float32 on each rank, root 0 in the first call.
/// Each call works on what the one before it has made.
std::vector<Event> record_collective(const std::string& name, const Geometry& geometry, int calls, bool two_lanes,
                                     size_t bytes);

}  // namespace pinnedpg
