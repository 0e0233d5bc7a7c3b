// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <span>
#include <vector>

#include "collective/exchange.h"

namespace pinnedpg {

/// Which regions each collective puts and gets, for one rank. All regions are flat. Pure: [Exchange] from geometry.
namespace collectives {

/// Who computes the exchanges: a rank of a world; and where they are to lie.
struct Seat {
  int rank;
  int world_size;
  Memory* memory = std::pmr::get_default_resource();

  Seat in(Memory* memory) const { return {rank, world_size, memory}; }
};

using Exchanges = std::pmr::vector<Exchange>;

Exchanges barrier(Seat seat);
/// Everyone's `data` becomes the root's.
Exchanges broadcast(Seat seat, int root, Region data);
/// `outputs[r]` becomes rank r's `input`; sizes may differ by rank. `input` may be `outputs[rank]`.
Exchanges all_gather(Seat seat, Region input, std::span<const Region> outputs);
/// As all_gather, at the root alone (`outputs` is empty elsewhere). Inputs of `input.bytes()` on all ranks.
Exchanges gather(Seat seat, int root, Region input, std::span<const Region> outputs);
/// `output` becomes the root's `inputs[rank]` (`inputs` is empty elsewhere). Outputs of `output.bytes()` on all ranks.
Exchanges scatter(Seat seat, int root, std::span<const Region> inputs, Region output);
/// `outputs[r]` becomes rank r's `inputs[rank]`. `shard_bytes`: of the largest shard of all ranks.
Exchanges all_to_all(Seat seat, std::span<const Region> inputs, std::span<const Region> outputs, size_t shard_bytes);
/// The root's `output` becomes the reduction of all `input`s in rank order; `output` may be `input`.
Exchanges reduce(Seat seat, int root, Region input, Region output, Reduction reduction);
/// `output` becomes the reduction of all ranks' `inputs[rank]`; it may be the own `inputs[rank]`. Sizes may differ by
/// rank.
Exchanges reduce_scatter(Seat seat, std::span<const Region> inputs, Region output, Reduction reduction);
/// Everyone's `data` becomes the reduction of all in rank order, bit-equal everywhere: in one exchange up to
/// `one_shot_bytes`, else by reduce_scatter and all_gather.
Exchanges all_reduce(Seat seat, Region data, Reduction reduction, size_t one_shot_bytes);

}  // namespace collectives
}  // namespace pinnedpg
