// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <memory_resource>
#include <optional>
#include <vector>

#include "base/region.h"
#include "base/scratch.h"
#include "device/reduce.h"
#include "device/stream.h"
#include "memory/staging.h"

namespace pinnedpg {

/// What one rank puts and gets in one motion of all ranks. `shard_count` and `shard_bytes` are equal on all ranks, and
/// so are the number of rounds and their steps. Pure geometry: it touches no memory.
struct Exchange {
  struct Put {
    int shard;
    Region from;
  };
  struct Get {
    int peer;
    int shard;
    Region to;     ///< unused where the exchange reduces
    Region own{};  ///< data set: the bytes are the rank's own and are read where they lie, not off the stage
  };

  /// Flags of another group over the same memory, and how far they must have come before this exchange puts.
  struct After {
    std::vector<Flag*> flags;
    uint32_t step;
  };

  explicit Exchange(Memory* memory = std::pmr::get_default_resource()) : puts(memory), gets(memory) {}

  int shard_count = 1;     ///< shards that a slot holds side by side
  size_t shard_bytes = 0;  ///< of the largest shard
  std::pmr::vector<Put> puts;
  std::pmr::vector<Get> gets;
  std::optional<Reduction> reduction;  ///< the gets, in peer order, are reduced into `reduced`
  Region reduced{};
  std::vector<Region> image;  ///< empty: staged in the slots, a chunk at a time; else shard i lies at image[i], whole
  bool meets = true;          ///< the gets wait for the puts of all ranks
  bool closes = false;        ///< the call ends only when all ranks have got (of its last exchange; one local member)
  std::vector<After> after;

  /// Which way its results go.
  Toward result_direction() const;
  /// How much of each shard moves in one step.
  size_t chunk_bytes(const Geometry& geometry) const;
  /// In how many steps it moves; at least one, since all ranks meet even where there is nothing to move.
  size_t rounds(const Geometry& geometry) const;
};

/// One step of an exchange, cut to size: chunk `index` of every shard.
class Round {
 public:
  Round(const Exchange& exchange, const Staging& staging, size_t index)
      : exchange_(exchange),
        staging_(staging),
        bytes_(exchange.chunk_bytes(staging.geometry())),
        begin_(index * bytes_) {}

  /// What moves of that region in this round.
  Region part(const Region& shard) const { return exchange_.image.empty() ? shard.cut(begin_, bytes_) : shard; }
  /// Where that shard of a rank lies on the stage.
  Region staged(int rank, int shard, uint32_t step, size_t bytes) const {
    if (!exchange_.image.empty()) return exchange_.image[static_cast<size_t>(shard)];
    return Region::flat(staging_.slot(rank, step) + static_cast<size_t>(shard) * bytes_, bytes);
  }

 private:
  const Exchange& exchange_;
  const Staging& staging_;
  const size_t bytes_;
  const size_t begin_;
};

}  // namespace pinnedpg
