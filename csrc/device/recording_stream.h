// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "device/stream.h"

namespace pinnedpg {

/// One verb that was queued: what it reads and writes, or which flags it sets or waits for.
struct Recorded {
  enum class Verb : uint8_t { kCopy, kReduce, kArrive, kWait } verb;
  std::vector<Region> reads, writes;
  std::vector<const Flag*> flags;
  uint32_t step = 0;
};

/// A device that does nothing but write down what is queued: for the proof of schedules and for people to read.
class RecordingStream final : public Stream {
 public:
  /// Lanes record into one common list, each verb with the name of its lane.
  using Log = std::vector<std::pair<std::string, Recorded>>;

  RecordingStream(std::string lane, Log& log) : lane_(std::move(lane)), log_(log) {}

  void copy(const Region& dst, const Region& src, Toward) override {
    add({Recorded::Verb::kCopy, {src}, {dst}, {}, 0});
  }
  void reduce(const Region& dst, std::span<const Region> srcs, Reduction, std::span<const double* const>) override {
    Recorded recorded{Recorded::Verb::kReduce, {}, {dst}, {}, 0};
    for (const Region& src : srcs) recorded.reads.push_back(Region::flat(src.data, dst.bytes()));
    add(std::move(recorded));
  }
  void arrive(Flag& flag, uint32_t step) override { add({Recorded::Verb::kArrive, {}, {}, {&flag}, step}); }
  bool wait(std::span<Flag* const> flags, uint32_t step) override {
    add({Recorded::Verb::kWait, {}, {}, {flags.begin(), flags.end()}, step});
    return true;
  }

 private:
  void add(Recorded recorded) { log_.emplace_back(lane_, std::move(recorded)); }

  const std::string lane_;
  Log& log_;
};

}  // namespace pinnedpg
