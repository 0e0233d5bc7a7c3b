// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "collective/collectives.h"
#include "collective/communicator.h"

/// One collective with known inputs, and what must come of it by definition.
namespace pinnedpg::checked {

using Word = uint64_t;  // the bits of an int64 or a float64, as the call's dtype says
using Tensors = std::vector<std::vector<Word>>;

/// What all ranks of a group call, drawn by one seed. `number` tells the values of two calls apart.
struct Plan {
  CallKind kind;
  size_t count;
  int root;
  bool in_place;
  Reduction reduction;
  uint64_t number;

  static Plan draw(std::mt19937& random, int world_size, uint64_t number) {
    const auto pick = [&](auto... options) {
      const std::common_type_t<decltype(options)...> list[] = {options...};
      return list[random() % sizeof...(options)];
    };
    const auto kind = static_cast<CallKind>(random() % 9);
    const size_t count = pick(0, 1, 5, 32, 33, 300, 2000);
    const ReduceOp op = pick(ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kBxor, ReduceOp::kPremulSum);
    const DType dtype = op == ReduceOp::kPremulSum ? DType::kFloat64 : DType::kInt64;
    return {kind, count, static_cast<int>(random() % world_size), random() % 2 == 0, {dtype, op}, number};
  }

  bool reduces() const {
    return kind == CallKind::kAllReduce || kind == CallKind::kReduce || kind == CallKind::kReduceScatter;
  }

  Label label(int rank) const {
    Label label;
    label.kind = kind;
    label.reduces = reduces() ? static_cast<uint8_t>(1 + static_cast<int>(reduction.op)) : 0;
    label.root = root;
    label.count = count;
    label.factor = rank + 1;
    return label;
  }

  /// How many elements a shard has where ranks may differ.
  size_t count_of(int shard) const { return count == 0 ? 0 : count + static_cast<size_t>(shard % 3); }

  int64_t value(int rank, int shard, size_t i) const {
    return static_cast<int64_t>((number * 31 + static_cast<size_t>(rank * 17 + shard * 7) + i) % 1000);
  }

  Word encode(int64_t value) const {
    if (reduces() && reduction.dtype == DType::kFloat64) return std::bit_cast<Word>(static_cast<double>(value));
    return static_cast<Word>(value);
  }

  std::vector<Word> tensor(int rank, int shard, size_t size) const {
    std::vector<Word> words(size);
    for (size_t i = 0; i < size; ++i) words[i] = encode(value(rank, shard, i));
    return words;
  }

  /// The reduction over all ranks of shard `shard`. All members of a local group have their first one's factor.
  std::vector<Word> reduced(int world_size, int shard, size_t size, int local_count) const {
    std::vector<Word> words(size);
    for (size_t i = 0; i < size; ++i) {
      int64_t total = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const int64_t term = value(rank, shard, i);
        if (reduction.op == ReduceOp::kSum) total += term;
        if (reduction.op == ReduceOp::kMax) total = std::max(total, term);
        if (reduction.op == ReduceOp::kBxor) total ^= term;
        if (reduction.op == ReduceOp::kPremulSum) total += term * (rank / local_count * local_count + 1);
      }
      words[i] = encode(total);
    }
    return words;
  }
};

/// A member's tensors for a call: filled, exchanged, compared with the definition.
class Member {
 public:
  Member(const Plan& plan, collectives::Seat seat, int local_count)
      : plan_(plan), seat_(seat), local_count_(local_count) {
    for (int shard = 0; shard < seat.world_size; ++shard) {
      ins_.push_back(plan.tensor(seat.rank, shard, in_count(shard)));
      outs_.emplace_back(out_count(shard), Word{0xdead});
    }
    if (in_out() >= 0) outs_[static_cast<size_t>(in_out())] = ins_[static_cast<size_t>(own_in())];
  }

  Call::Leg leg(size_t one_shot_bytes) {
    std::vector<Region> ins, outs;
    for (auto& words : ins_) ins.push_back(region(words));
    for (auto& words : outs_) outs.push_back(region(words));
    if (in_out() >= 0) ins[static_cast<size_t>(own_in())] = outs[static_cast<size_t>(in_out())];
    switch (plan_.kind) {
      case CallKind::kBroadcast:
        return collectives::broadcast(seat_, plan_.root, outs[0]);
      case CallKind::kAllReduce:
        return collectives::all_reduce(seat_, outs[0], plan_.reduction, one_shot_bytes);
      case CallKind::kReduce:
        return collectives::reduce(seat_, plan_.root, ins[0], outs[0], plan_.reduction);
      case CallKind::kAllGather:
        return collectives::all_gather(seat_, ins[0], outs);
      case CallKind::kReduceScatter:
        return collectives::reduce_scatter(seat_, ins, outs[0], plan_.reduction);
      case CallKind::kGather:
        return collectives::gather(seat_, plan_.root, ins[0], outs);
      case CallKind::kScatter:
        return collectives::scatter(seat_, plan_.root, ins, outs[0]);
      case CallKind::kAllToAll:
        return collectives::all_to_all(seat_, ins, outs, (plan_.count + 2) * sizeof(Word));
      default:
        return collectives::barrier(seat_);
    }
  }

  /// Whether the outputs are what the definition says.
  bool is_right() const {
    const bool is_root = seat_.rank == plan_.root;
    const auto expect = [&](size_t shard, const std::vector<Word>& words) { return outs_[shard] == words; };
    switch (plan_.kind) {
      case CallKind::kBroadcast:
        return expect(0, plan_.tensor(plan_.root, 0, plan_.count));
      case CallKind::kReduce:
        if (!is_root) return true;
        [[fallthrough]];
      case CallKind::kAllReduce:
        return expect(0, plan_.reduced(seat_.world_size, 0, plan_.count, local_count_));
      case CallKind::kReduceScatter:
        return expect(0, plan_.reduced(seat_.world_size, seat_.rank, out_count(0), local_count_));
      case CallKind::kScatter:
        return expect(0, plan_.tensor(plan_.root, seat_.rank, plan_.count));
      case CallKind::kBarrier:
        return true;
      default:
        return plan_.kind == CallKind::kGather && !is_root ? true : gathered();
    }
  }

 private:
  static Region region(std::vector<Word>& words) { return Region::flat(words.data(), words.size() * sizeof(Word)); }

  bool gathered() const {
    const int shard = plan_.kind == CallKind::kAllToAll ? seat_.rank : 0;
    for (int peer = 0; peer < seat_.world_size; ++peer) {
      if (outs_[static_cast<size_t>(peer)] != plan_.tensor(peer, shard, out_count(peer))) return false;
    }
    return true;
  }

  size_t in_count(int shard) const {
    if (plan_.kind == CallKind::kAllGather) return plan_.count_of(seat_.rank);
    if (plan_.kind == CallKind::kReduceScatter) return plan_.count_of(shard);
    return plan_.kind == CallKind::kAllToAll ? plan_.count_of(seat_.rank + shard) : plan_.count;
  }

  size_t out_count(int shard) const {
    if (plan_.kind == CallKind::kAllGather) return plan_.count_of(shard);
    if (plan_.kind == CallKind::kReduceScatter) return plan_.count_of(seat_.rank);
    return plan_.kind == CallKind::kAllToAll ? plan_.count_of(seat_.rank + shard) : plan_.count;
  }

  /// Which output is also an input, or -1; and which input that is.
  int in_out() const {
    const bool is_root = seat_.rank == plan_.root;
    if (plan_.kind == CallKind::kAllReduce || (plan_.kind == CallKind::kBroadcast && is_root)) return 0;
    if (!plan_.in_place) return -1;
    if (plan_.kind == CallKind::kAllGather) return seat_.rank;
    return plan_.kind == CallKind::kReduce || plan_.kind == CallKind::kReduceScatter ? 0 : -1;
  }
  int own_in() const { return plan_.kind == CallKind::kReduceScatter ? seat_.rank : 0; }

  const Plan plan_;
  const collectives::Seat seat_;
  const int local_count_;
  Tensors ins_, outs_;
};

}  // namespace pinnedpg::checked
