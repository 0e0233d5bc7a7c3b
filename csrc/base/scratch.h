// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <memory_resource>

namespace pinnedpg {

using Memory = std::pmr::memory_resource;

/// Where the lists of one call lie while its caller waits for it: on the caller's stack, so that a small call allocates
/// nothing. What outlives the caller is copied; a copy lies on the heap, as copies of std::pmr's containers do.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  Memory* memory() { return &resource_; }

 private:
  alignas(std::max_align_t) std::byte bytes_[4096];
  std::pmr::monotonic_buffer_resource resource_{bytes_, sizeof bytes_};
};

}  // namespace pinnedpg
