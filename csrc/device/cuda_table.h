// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What the kernels that reduce share. For .cu files.
#pragma once

#include "device/reduce_op.h"

namespace pinnedpg {

/// What a thread loads of a source at once.
constexpr size_t kVectorBytes = 16;

/// Several elements that are loaded and stored at once.
template <typename Element>
struct alignas(kVectorBytes) Pack {
  static constexpr size_t kSize = sizeof(Element) < kVectorBytes ? kVectorBytes / sizeof(Element) : 1;
  Element elements[kSize];
};

/// An entry for every reduction that has a meaning and is not lowered to another; null elsewhere.
template <typename Entry>
struct CudaTable {
  Entry entries[kDTypeCount][kReduceOpCount];

  Entry of(const Lowered& lowered) const {
    return entries[static_cast<int>(lowered.dtype)][static_cast<int>(lowered.op)];
  }
};

template <typename Entry, template <typename, ReduceOp> typename EntryOf, int dtype = 0, int op = 0>
consteval void fill_cuda_table(CudaTable<Entry>& table) {
  constexpr auto kType = static_cast<DType>(dtype);
  constexpr auto kOp = static_cast<ReduceOp>(op);
  constexpr Lowered lowered = lower(kType, kOp);
  if constexpr (supports(kType, kOp) && lowered.dtype == kType && lowered.op == kOp) {
    table.entries[dtype][op] = EntryOf<typename ElementOf<kType>::type, kOp>::value;
  }
  if constexpr (op + 1 < kReduceOpCount) {
    fill_cuda_table<Entry, EntryOf, dtype, op + 1>(table);
  } else if constexpr (dtype + 1 < kDTypeCount) {
    fill_cuda_table<Entry, EntryOf, dtype + 1, 0>(table);
  }
}

/// `EntryOf<Element, op>::value` for each.
template <typename Entry, template <typename, ReduceOp> typename EntryOf>
consteval CudaTable<Entry> make_cuda_table() {
  CudaTable<Entry> table{};
  fill_cuda_table<Entry, EntryOf>(table);
  return table;
}

}  // namespace pinnedpg
