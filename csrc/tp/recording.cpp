// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/recording.h"

#include "base/check.h"
#include "tp/tp_exchange.h"

namespace pinnedpg::tp {

namespace {

constexpr size_t kRows = 2;

/// The tensors of a team, at imaginary places.
struct Scene {
  size_t members;
  size_t bytes;

  int shared() const { return static_cast<int>(members); }
  Region matrix(std::byte* data) const { return {data, members * bytes, kRows, members * bytes}; }
  Region buffer() const { return matrix(imaginary(shared(), 0)); }
  std::vector<Placed> all(int tensor, size_t row_bytes, size_t rows) const {
    std::vector<Placed> placed;
    for (int rank = 0; rank < shared(); ++rank) {
      placed.push_back({rank, {imaginary(rank, tensor), row_bytes, rows, row_bytes}});
    }
    return placed;
  }

  std::vector<Space> spaces() const {
    const size_t room = (members + 1) * bytes * kRows * 2;
    std::vector<Space> spaces{{"buffer", imaginary(shared(), 0), room}, {"detour", imaginary(shared(), 1), room}};
    for (int rank = 0; rank < shared(); ++rank) {
      spaces.push_back({concat("in ", rank), imaginary(rank, 0), room});
      spaces.push_back({concat("out ", rank), imaginary(rank, 1), room});
    }
    return spaces;
  }
};

Broadcast broadcast(const Scene& scene, const std::string& name) {
  const Region stage = scene.buffer();
  Region source = scene.matrix(imaginary(0, 0));
  if (name == "broadcast_in_place") source = stage;
  if (name == "broadcast_across") source.data = stage.data + scene.bytes;
  Broadcast motion = Broadcast::route(stage, source, scene.all(1, stage.row_bytes, kRows));
  if (name == "broadcast_across") motion.detour = scene.matrix(imaginary(scene.shared(), 1));
  return motion;
}

Gather gather(const Scene& scene, bool has_targets) {
  Split split;
  for (int rank = 0; rank < scene.shared(); ++rank) split.push_back({rank, rank, rank + 1});
  const Region matrix = scene.buffer();
  return {matrix, Gather::cut(matrix, split, scene.bytes), scene.all(0, scene.bytes, kRows),
          has_targets ? scene.all(1, matrix.row_bytes, kRows) : std::vector<Placed>{}};
}

AllReduce all_reduce(const Scene& scene, bool twice) {
  AllReduce motion{{}, scene.all(0, scene.bytes, 1), scene.all(1, scene.bytes, 1)};
  if (twice) {
    motion.tensors.push_back({0, Region::flat(imaginary(0, 0) + scene.bytes, scene.bytes)});
    motion.residuals.push_back({0, Region::flat(imaginary(0, 1) + scene.bytes, scene.bytes)});
  }
  return motion;
}

/// The exchanges of a call, as the operations of the raw API make them.
std::vector<Exchange> exchanges_of(const Scene& scene, const std::string& name, int rank) {
  if (name == "barrier") return {meeting()};
  if (name == "broadcast") return {meeting(), broadcast(scene, name).leg(rank)};
  if (name == "broadcast_in_place" || name == "broadcast_across") return {broadcast(scene, name).leg(rank)};
  if (name == "gather") return {gather(scene, false).leg(rank)};
  if (name == "gather_open") return {gather(scene, false).puts(rank, false)};
  if (name == "all_gather") return {gather(scene, true).leg(rank)};
  if (name == "gather_barrier") return {gather(scene, true).puts(rank, false), gather(scene, true).gets(rank)};
  if (name == "all_reduce") return {meeting(), all_reduce(scene, false).leg(rank)};
  if (name == "all_reduce_twice") {
    const AllReduce motion = all_reduce(scene, true);
    return {meeting(), motion.leg(rank), motion.copies(rank)};
  }
  throw ValueError(concat("record: no call of that name; got ", name));
}

}  // namespace

std::vector<Event> record(const std::vector<std::string>& program, const Geometry& geometry, bool two_lanes,
                          size_t bytes) {
  const Scene scene{static_cast<size_t>(geometry.world_size), bytes};
  std::vector<std::vector<Exchange>> legs(scene.members);
  for (size_t rank = 0; rank < scene.members; ++rank) {
    for (const std::string& name : program) {
      for (Exchange& exchange : exchanges_of(scene, name, static_cast<int>(rank)))
        legs[rank].push_back(std::move(exchange));
    }
  }
  const auto leg = [&](int rank, int call) -> Call::Leg {
    return {legs[static_cast<size_t>(rank)][static_cast<size_t>(call)]};
  };
  return pinnedpg::record(geometry, static_cast<int>(legs[0].size()), two_lanes, scene.spaces(), leg);
}

}  // namespace pinnedpg::tp
