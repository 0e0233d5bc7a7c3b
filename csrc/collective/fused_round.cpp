// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/fused_round.h"

#include <algorithm>

namespace pinnedpg {

namespace {

bool overlap(const std::byte* one, size_t bytes, const std::byte* other, size_t other_bytes) {
  return one < other + other_bytes && other < one + bytes;
}

/// By what is equal on all ranks: who only puts knows no reduction.
bool fits(const Exchange& exchange, const Label& label, const Staging& staging) {
  const Geometry& geometry = staging.geometry();
  const size_t shard = (exchange.shard_bytes + kFusedUnit - 1) / kFusedUnit * kFusedUnit;
  return geometry.fused_bytes > 0 && static_cast<size_t>(geometry.world_size) <= kFusedRanks && !label.has_factor() &&
         exchange.image.empty() && exchange.meets && !exchange.closes && exchange.after.empty() &&
         exchange.shard_bytes <= geometry.fused_bytes &&
         static_cast<size_t>(exchange.shard_count) * shard <= geometry.fused_bytes;
}

/// Whether some thread may write what another one has yet to put: not where each reduces just what it puts.
bool is_in_turn(const FusedRound& round) {
  const auto writes = [&](const FusedRound::Put& put) {
    if (round.reduces) return !round.in_place && overlap(put.from, put.bytes, round.reduced, round.reduced_bytes);
    return std::any_of(round.gets, round.gets + round.get_count,
                       [&](const auto& get) { return overlap(put.from, put.bytes, get.to, get.bytes); });
  };
  return std::any_of(round.puts, round.puts + round.put_count, writes);
}

void add_gets(FusedRound& round, const Exchange& exchange) {
  for (const auto& [peer, shard, to, own] : exchange.gets) {
    const size_t bytes = round.reduces ? round.reduced_bytes : to.bytes();
    if (bytes == 0 || (!round.reduces && own.data == to.data)) continue;
    round.gets[round.get_count++] = {to.data, own.data, static_cast<uint32_t>(bytes), static_cast<uint16_t>(peer),
                                     static_cast<uint16_t>(shard)};
  }
}

}  // namespace

std::optional<FusedRound> fuse(const Call& call, const Staging& staging, int rank) {
  const Call::Leg& leg = call.legs[0];
  if (leg.size() != 1 || !fits(leg[0], call.label, staging)) return std::nullopt;
  const Exchange& exchange = leg[0];
  FusedRound round;
  round.shard_units = static_cast<uint32_t>((exchange.shard_bytes + kFusedUnit - 1) / kFusedUnit);
  for (const auto& [shard, from] : exchange.puts) {
    if (from.bytes() == 0) continue;
    round.puts[round.put_count++] = {from.data, static_cast<uint32_t>(from.bytes()), static_cast<uint32_t>(shard)};
  }
  round.reduces = exchange.reduction.has_value();
  if (round.reduces) {
    round.reduction = *exchange.reduction;
    round.reduced = exchange.reduced.data;
    round.reduced_bytes = static_cast<uint32_t>(exchange.reduced.bytes());
  }
  add_gets(round, exchange);
  round.in_chunks = round.shard_units * kFusedUnit * exchange.shard_count > staging.geometry().word_bytes;
  round.in_place = round.reduces && round.put_count == 1 && round.puts[0].from == round.reduced;
  round.in_turn = is_in_turn(round);
  round.rank = static_cast<uint32_t>(rank);
  round.world_size = static_cast<uint32_t>(staging.geometry().world_size);
  round.slots = staging.fused_slots(0);
  round.slot_bytes = staging.fused_slot_bytes();
  round.word_bytes = staging.geometry().word_bytes;
  round.rank_pitch = staging.slots_bytes();
  round.halt = &staging.control().halt;
  return round;
}

}  // namespace pinnedpg
