// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstdint>
#include <span>

#include "base/region.h"
#include "device/reduce.h"
#include "memory/flag.h"

namespace pinnedpg {

/// Which way a copy goes: a host stream chooses its stores by it.
enum class Toward : uint8_t {
  kStage,
  kRank,
  kRankCold,  ///< part of a result that no cache holds until it is read
};

/// An ordered queue of work on one device: all that an algorithm knows of a device.
class Stream {
 public:
  virtual ~Stream() = default;

  /// Copies `src` to `dst`: the same rows and row_bytes, or both flat and of the same bytes. They do not overlap.
  virtual void copy(const Region& dst, const Region& src, Toward toward) = 0;

  /// Reduces flat regions of the same bytes, in that order; `dst` may be one of `srcs`. `factors` as in reduce_host, by
  /// where they will be when this is done: who queues ahead of its peers does not know theirs yet.
  virtual void reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                      std::span<const double* const> factors) = 0;

  /// Sets the flag once all work queued before is done and visible to every rank. The caller is the flag's one writer.
  virtual void arrive(Flag& flag, uint32_t step) = 0;

  /// Holds all work queued later until every flag has reached `step`. False: this stream does not queue, the flags have
  /// not come so far, and the caller is to come back later and ask again (a host stream that its caller polls).
  virtual bool wait(std::span<Flag* const> flags, uint32_t step) = 0;
};

/// The queues of one member: what it puts and what it gets may run side by side where the device has two engines. Where
/// it has one, both are the same stream. All order between the two is in the waits.
struct Lanes {
  Stream* put;
  Stream* get;
};

/// Called by a stream that waits, now and then, with what it waits for. Raises when the wait is to end in vain.
class Guard {
 public:
  virtual ~Guard() = default;
  virtual void patrol(std::span<Flag* const> flags, uint32_t step) = 0;
};

}  // namespace pinnedpg
