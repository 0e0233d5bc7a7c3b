// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <cstddef>

namespace pinnedpg {

/// Copies to the stage, through the caches or past them, by what such copies have just taken. Where the cores of two
/// ranks share a near cache, plain stores win by half; where they do not, fetching a line that a peer has read costs so
/// much that stores past the caches are several times faster, for writer and reader (docs/performance.md). Which of the
/// two it is depends on the machine, and on a virtual one on the minute. Peers need not agree.
class StageCopy {
 public:
  void copy(std::byte* dst, const std::byte* src, size_t bytes);

 private:
  void note(size_t bytes, std::chrono::nanoseconds taken);

  int slow_ = 0;         ///< plain copies in a row that were slow
  int past_caches_ = 0;  ///< copies that are still to go past the caches before a plain one is tried again
};

}  // namespace pinnedpg
