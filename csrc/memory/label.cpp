// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/label.h"

#include <cstring>

#include "base/check.h"

namespace pinnedpg {

uint64_t Label::fingerprint() const {
  uint64_t words[6] = {};
  words[0] = static_cast<uint64_t>(kind) | uint64_t{reduces} << 8 | uint64_t{tensors} << 16 |
             static_cast<uint64_t>(static_cast<uint32_t>(root)) << 32;
  words[1] = count;
  words[2] = layout;
  std::memcpy(&words[3], dtype.data(), dtype.size());
  uint64_t hash = 0x9e3779b97f4a7c15;
  for (const uint64_t word : words) {
    hash = (hash ^ word) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  return hash | 1;
}

const char* Label::name() const {
  static constexpr const char* names[] = {"barrier",      "broadcast",      "all_reduce", "reduce",
                                          "all_gather",   "reduce_scatter", "gather",     "scatter",
                                          "all_to_all",   "tp_broadcast",   "tp_gather",  "tp_cross_device_barrier",
                                          "tp_all_reduce"};
  return names[static_cast<int>(kind)];
}

std::string Label::to_string() const {
  if (kind == CallKind::kBarrier || kind == CallKind::kTpCrossDeviceBarrier) return concat(name(), "()");
  std::string text = concat(name(), "(", dtype_text(dtype));
  if (kind == CallKind::kAllToAll && layout != 0) return text + ", with sizes for each pair of ranks)";
  text += concat("[", count, "]");
  if (layout != 0) {
    text += concat(kind == CallKind::kAllReduce ? " sparse, shape #" : " in sizes #", std::hex, layout % 0x10000);
  }
  if (reduces != 0) text += concat(", ", op_name(static_cast<ReduceOp>(reduces - 1)));
  if (root >= 0) text += concat(kind < CallKind::kTpBroadcast ? ", root " : ", buffer ", root);
  if (tensors != 1) text += concat(", ", tensors, " tensors");
  return text + ")";
}

std::string dtype_text(const std::array<char, 16>& dtype) {
  return {dtype.data(), ::strnlen(dtype.data(), dtype.size())};
}

}  // namespace pinnedpg
