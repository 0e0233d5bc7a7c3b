// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/tp_exchange.h"

#include <algorithm>
#include <map>

namespace pinnedpg::tp {

namespace {

/// An exchange over memory that all members see: shard i is image[i].
Exchange over(std::vector<Region> image) {
  Exchange exchange;
  exchange.shard_count = static_cast<int>(image.size());
  for (const Region& region : image) exchange.shard_bytes = std::max(exchange.shard_bytes, region.bytes());
  exchange.image = std::move(image);
  return exchange;
}

}  // namespace

Exchange meeting() { return Exchange(); }

Broadcast Broadcast::route(const Region& stage, const Region& source, const std::vector<Placed>& targets) {
  Broadcast broadcast{stage, std::nullopt, {}, {}};
  int putter = targets[0].rank;
  for (const Placed& target : targets) {
    if (!same_place(target.region, source)) {
      broadcast.targets.push_back(target);
    } else if (!broadcast.maker_known) {
      broadcast.maker_known = true;
      putter = target.rank;
    }
  }
  if (!same_place(source, stage)) broadcast.source = Placed{putter, source};
  return broadcast;
}

void Broadcast::put_by(int rank) {
  if (source) source->rank = rank;
  maker_known = true;
}

Exchange Broadcast::leg(int rank) const {
  Exchange exchange = over({stage, detour});
  if (source && source->rank == rank) {
    if (detour.data == nullptr) {
      exchange.puts.push_back({0, source->region});
    } else {  // in this order, by one lane: the source is read whole before the stage is written
      exchange.puts.push_back({1, source->region});
      exchange.puts.push_back({0, detour});
    }
  }
  for (const auto& [owner, region] : targets) {
    if (owner == rank) exchange.gets.push_back({rank, 0, region});
  }
  exchange.closes = true;
  return exchange;
}

std::vector<Region> Gather::cut(const Region& matrix, const Split& split, size_t unit_bytes) {
  std::vector<Region> bands;
  for (const Share& share : split) {
    bands.push_back({matrix.data + static_cast<size_t>(share.begin) * unit_bytes,
                     static_cast<size_t>(share.end - share.begin) * unit_bytes, matrix.rows, matrix.pitch});
  }
  return bands;
}

Exchange Gather::puts(int rank, bool meets) const {
  Exchange exchange = over(bands);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // An input that is its band has nothing to move.
    const auto& [owner, region] = inputs[i];
    if (owner == rank && region.data != bands[i].data) exchange.puts.push_back({static_cast<int>(i), region});
  }
  exchange.meets = meets;
  return exchange;
}

Exchange Gather::gets(int rank) const {
  Exchange exchange = over({matrix});
  for (const auto& [owner, region] : targets) {
    if (owner == rank) exchange.gets.push_back({rank, 0, region});
  }
  return exchange;
}

Exchange Gather::leg(int rank) const {
  Exchange exchange = puts(rank, true);
  const int whole = exchange.shard_count++;
  exchange.image.push_back(matrix);
  exchange.shard_bytes = matrix.bytes();
  exchange.gets = gets(rank).gets;
  for (Exchange::Get& get : exchange.gets) get.shard = whole;
  return exchange;
}

int AllReduce::shard_count() const {
  std::map<int, int> counts;
  int most = 0;
  for (const Placed& tensor : tensors) most = std::max(most, ++counts[tensor.rank]);
  return 1 + most;
}

Exchange AllReduce::leg(int rank) const {
  Exchange exchange;
  exchange.shard_count = shard_count();
  exchange.shard_bytes = tensors[0].region.bytes();
  exchange.closes = true;
  std::map<int, int> shards;  // used of each member
  std::vector<Exchange::Get> all{{residuals[0].rank, 0, {}}};
  if (residuals[0].rank == rank) exchange.puts.push_back({0, residuals[0].region});
  for (const auto& [owner, region] : tensors) {
    const int shard = ++shards[owner];
    if (owner == rank) exchange.puts.push_back({shard, region});
    all.push_back({owner, shard, {}});
  }
  const auto own = std::find_if(residuals.begin(), residuals.end(), [&](const Placed& r) { return r.rank == rank; });
  if (own == residuals.end()) return exchange;
  exchange.reduction = reduction;
  exchange.reduced = own->region;
  exchange.gets.assign(all.begin(), all.end());
  return exchange;
}

Exchange AllReduce::copies(int rank) const {
  std::vector<Region> own;
  for (const auto& [owner, region] : residuals) {
    if (owner == rank) own.push_back(region);
  }
  Exchange exchange = over({own.empty() ? Region{} : own[0]});
  for (size_t i = 1; i < own.size(); ++i) exchange.gets.push_back({rank, 0, own[i]});
  exchange.closes = true;
  return exchange;
}

}  // namespace pinnedpg::tp
