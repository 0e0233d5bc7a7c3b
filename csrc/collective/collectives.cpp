// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/collectives.h"

#include <algorithm>

namespace pinnedpg::collectives {

namespace {

/// Where a slot holds a shard for every peer of its rank: the shard for `peer` in the slot of `rank`.
int shard_for(int peer, int rank) { return peer < rank ? peer : peer - 1; }

int peer_count(Seat seat) { return std::max(1, seat.world_size - 1); }

/// A get of `peer`'s shard, or of the own region when `peer` is the rank itself.
Exchange::Get get_from(Seat seat, int peer, int shard, Region to, Region own) {
  return peer == seat.rank ? Exchange::Get{peer, shard, to, own} : Exchange::Get{peer, shard, to, {}};
}

/// One exchange, with place for a second.
Exchanges one(Seat seat) {
  Exchanges exchanges(seat.memory);
  exchanges.reserve(2);
  exchanges.emplace_back(seat.memory);
  exchanges[0].gets.reserve(static_cast<size_t>(seat.world_size));
  return exchanges;
}

size_t largest(std::span<const Region> regions) {
  size_t bytes = 0;
  for (const Region& region : regions) bytes = std::max(bytes, region.bytes());
  return bytes;
}

}  // namespace

Exchanges barrier(Seat seat) { return one(seat); }

Exchanges broadcast(Seat seat, int root, Region data) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_bytes = data.bytes();
  if (seat.rank != root) {
    exchange.gets.push_back({root, 0, data});
  } else if (seat.world_size > 1) {
    exchange.puts.push_back({0, data});
  }
  return exchanges;
}

Exchanges all_gather(Seat seat, Region input, std::span<const Region> outputs) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_bytes = largest(outputs);
  if (seat.world_size > 1) exchange.puts.push_back({0, input});
  for (int peer = 0; peer < seat.world_size; ++peer) {
    exchange.gets.push_back(get_from(seat, peer, 0, outputs[static_cast<size_t>(peer)], input));
  }
  return exchanges;
}

Exchanges gather(Seat seat, int root, Region input, std::span<const Region> outputs) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_bytes = input.bytes();
  if (seat.rank != root) {
    exchange.puts.push_back({0, input});
    return exchanges;
  }
  for (int peer = 0; peer < seat.world_size; ++peer) {
    exchange.gets.push_back(get_from(seat, peer, 0, outputs[static_cast<size_t>(peer)], input));
  }
  return exchanges;
}

Exchanges scatter(Seat seat, int root, std::span<const Region> inputs, Region output) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_count = peer_count(seat);
  exchange.shard_bytes = output.bytes();
  if (seat.rank != root) {
    exchange.gets.push_back({root, shard_for(seat.rank, root), output});
    return exchanges;
  }
  for (int peer = 0; peer < seat.world_size; ++peer) {
    if (peer != root) exchange.puts.push_back({shard_for(peer, root), inputs[static_cast<size_t>(peer)]});
  }
  exchange.gets.push_back({root, 0, output, inputs[static_cast<size_t>(root)]});
  return exchanges;
}

Exchanges all_to_all(Seat seat, std::span<const Region> inputs, std::span<const Region> outputs, size_t shard_bytes) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_count = peer_count(seat);
  exchange.shard_bytes = shard_bytes;
  for (int peer = 0; peer < seat.world_size; ++peer) {
    const auto i = static_cast<size_t>(peer);
    if (peer != seat.rank) exchange.puts.push_back({shard_for(peer, seat.rank), inputs[i]});
    exchange.gets.push_back(get_from(seat, peer, shard_for(seat.rank, peer), outputs[i], inputs[i]));
  }
  return exchanges;
}

Exchanges reduce(Seat seat, int root, Region input, Region output, Reduction reduction) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_bytes = input.bytes();
  if (seat.rank != root) {
    exchange.puts.push_back({0, input});
    return exchanges;
  }
  exchange.reduction = reduction;
  exchange.reduced = output;
  for (int peer = 0; peer < seat.world_size; ++peer) {
    exchange.gets.push_back(get_from(seat, peer, 0, {}, input));
  }
  return exchanges;
}

Exchanges reduce_scatter(Seat seat, std::span<const Region> inputs, Region output, Reduction reduction) {
  Exchanges exchanges = one(seat);
  Exchange& exchange = exchanges[0];
  exchange.shard_count = peer_count(seat);
  exchange.shard_bytes = largest(inputs);
  exchange.reduction = reduction;
  exchange.reduced = output;
  for (int peer = 0; peer < seat.world_size; ++peer) {
    const auto i = static_cast<size_t>(peer);
    if (peer != seat.rank) exchange.puts.push_back({shard_for(peer, seat.rank), inputs[i]});
    exchange.gets.push_back(get_from(seat, peer, shard_for(seat.rank, peer), {}, inputs[i]));
  }
  return exchanges;
}

Exchanges all_reduce(Seat seat, Region data, Reduction reduction, size_t one_shot_bytes) {
  if (seat.world_size == 1 || data.bytes() <= one_shot_bytes) {
    Exchanges exchanges = one(seat);
    Exchange& exchange = exchanges[0];
    exchange.shard_bytes = data.bytes();
    exchange.reduction = reduction;
    exchange.reduced = data;
    if (seat.world_size > 1) exchange.puts.push_back({0, data});
    for (int peer = 0; peer < seat.world_size; ++peer) exchange.gets.push_back(get_from(seat, peer, 0, {}, data));
    return exchanges;
  }
  // Shards of whole cache lines: no element is split, and no two ranks' parts share a line.
  const size_t ranks = static_cast<size_t>(seat.world_size);
  const size_t shard_bytes = ((data.bytes() + ranks - 1) / ranks + 63) / 64 * 64;
  std::pmr::vector<Region> shards(ranks, seat.memory);
  for (size_t i = 0; i < ranks; ++i) shards[i] = data.cut(i * shard_bytes, shard_bytes);
  const Region own = shards[static_cast<size_t>(seat.rank)];
  Exchanges exchanges = reduce_scatter(seat, shards, own, reduction);
  exchanges.push_back(std::move(all_gather(seat, own, shards)[0]));
  // The same chunks in both, so that a chunk is gathered as soon as it is reduced.
  exchanges[1].shard_count = exchanges[0].shard_count;
  return exchanges;
}

}  // namespace pinnedpg::collectives
