// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <optional>
#include <vector>

#include "collective/exchange.h"
#include "tp/regions.h"
#include "tp/split.h"

namespace pinnedpg::tp {

/// A region, and the member of the team that moves it.
struct Placed {
  int rank;
  Region region;
};

/// The raw API's motions: which regions each member puts and gets. Pure geometry, like `collectives`.

/// Everyone meets; no data.
Exchange meeting();

/// The whole source to every target.
struct Broadcast {
  Region stage;                  ///< in the buffer
  std::optional<Placed> source;  ///< nothing: it lies in the stage already
  Region detour{};               ///< data set: the source overlaps the stage and goes this way, as memmove would
  std::vector<Placed> targets;
  bool maker_known = false;  ///< the source is a target too, so that member's own work has made it

  /// Leaves out targets that are the source. It is put by the member whose target it is, else by the first target's.
  static Broadcast route(const Region& stage, const Region& source, const std::vector<Placed>& targets);

  /// That member's work has made the source, which lies on its device.
  void put_by(int rank);

  Exchange leg(int rank) const;
};

/// Column bands to one matrix, and the matrix to every target.
struct Gather {
  Region matrix;              ///< in the buffer
  std::vector<Region> bands;  ///< of the matrix, one per input
  std::vector<Placed> inputs;
  std::vector<Placed> targets;

  /// The bands of a matrix with rows of `row_bytes`, `unit_bytes` of them for each unit of the split.
  static std::vector<Region> cut(const Region& matrix, const Split& split, size_t unit_bytes);

  /// Puts the member's bands. Without `meets`, nobody waits for the others' bands.
  Exchange puts(int rank, bool meets) const;
  /// Gets the member's targets, once all have come here.
  Exchange gets(int rank) const;
  /// Both in one.
  Exchange leg(int rank) const;
};

/// The first residual and all tensors, summed in that order, to every residual. Staged in the team's own slots, and
/// every source is read there, so a residual may be one of the tensors.
struct AllReduce {
  Reduction reduction;
  std::vector<Placed> tensors;
  std::vector<Placed> residuals;  ///< as many, moved by the same members

  /// A slot holds the first residual, then the member's tensors: as many shards on all members.
  int shard_count() const;
  /// Reduces to the member's first residual.
  Exchange leg(int rank) const;
  /// Whether a member has several residuals, which `copies` fills from its first.
  bool has_copies() const { return shard_count() > 2; }
  Exchange copies(int rank) const;
};

}  // namespace pinnedpg::tp
