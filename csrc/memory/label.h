// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/dtype.h"

namespace pinnedpg {

enum class CallKind : uint8_t {
  kBarrier,
  kBroadcast,
  kAllReduce,
  kReduce,
  kAllGather,
  kReduceScatter,
  kGather,
  kScatter,
  kAllToAll,
  kTpBroadcast,  ///< the raw API's; `root` is then the buffer
  kTpGather,
  kTpCrossDeviceBarrier,
  kTpAllReduce,
};

/// What a rank says of a call before it moves a byte: ranks whose labels differ must not exchange data.
struct Label {
  CallKind kind = CallKind::kBarrier;
  uint8_t reduces = 0;   ///< 1 + ReduceOp where the call reduces
  uint16_t tensors = 1;  ///< tensors of each rank (c10d's tensor lists)
  int32_t root = -1;     ///< -1: the call has none
  uint64_t count = 0;    ///< elements of each rank; the sum where ranks differ
  uint64_t layout = 0;   ///< hash of sizes where ranks differ as all know (uneven lists), of a sparse shape; else 0
  std::array<char, 16> dtype{};
  double factor = 1;    ///< of kPremulSum: each rank has its own, so it is no part of the fingerprint
  uint64_t number = 0;  ///< how many calls the rank had begun before

  bool has_factor() const { return reduces == 1 + static_cast<uint8_t>(ReduceOp::kPremulSum); }
  /// Equal where the calls fit together; never 0.
  uint64_t fingerprint() const;
  /// The call as a user would write it: "broadcast(float32[1024], root 0)".
  std::string to_string() const;
  const char* name() const;
};

/// The name of a type in a label, which fills all of it or ends with a 0.
std::string dtype_text(const std::array<char, 16>& dtype);

}  // namespace pinnedpg
