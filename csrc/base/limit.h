// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <algorithm>
#include <chrono>

namespace pinnedpg {

/// A time-out that can be added to any point in time: users ask for `timedelta.max`.
constexpr std::chrono::milliseconds bounded(std::chrono::milliseconds limit) {
  return std::min<std::chrono::milliseconds>(limit, std::chrono::hours(24 * 365 * 10));
}

}  // namespace pinnedpg
