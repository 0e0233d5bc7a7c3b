// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <cstdint>
#include <ostream>
#include <vector>

namespace pinnedpg::tp {

/// What a tensor is cut by: each has its own split of the devices. The numbers are the raw API's BROADCAST_*.
enum class SplitType : uint8_t { kKv, kId, kVc, kRs, kQ };
inline constexpr int kSplitTypes = 5;

/// What a split (and `dim`) can count to, so that their product is a number.
inline constexpr int64_t kMostUnits = int64_t{1} << 31;

/// What a device has of a tensor: [begin, end) in units of its split (heads, columns).
struct Share {
  int device;
  int64_t begin;
  int64_t end;
};

/// The shares of all devices that have one, in the order of a call's tensors. A device may have several.
using Split = std::vector<Share>;
using Splits = std::array<Split, kSplitTypes>;

/// "KV"; any int, since it stands in error texts.
const char* split_name(int type);

/// Raises ValueError unless the shares follow one another from 0. `argument` names the split in the error.
void check_shares(const Split& split, const char* argument);

/// The devices of the split, each once, in rising order.
std::vector<int> devices_of(const Split& split);

/// "[0, 2]", for error texts.
struct Listed {
  const std::vector<int>& devices;
};
std::ostream& operator<<(std::ostream& out, const Listed& listed);

}  // namespace pinnedpg::tp
