// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/staging.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace pinnedpg {

namespace {

constexpr size_t kPage = 4096;

/// Hands out consecutive, aligned places from a base (a null base only measures).
struct Cursor {
  std::byte* base;
  size_t at = 0;

  template <typename T>
  T* take(size_t count, size_t alignment) {
    at = (at + alignment - 1) / alignment * alignment;
    T* place = reinterpret_cast<T*>(base + at);
    at += count * sizeof(T);
    return place;
  }
};

}  // namespace

Geometry Geometry::fit(int world_size, size_t slot_bytes, uint32_t depth, size_t one_shot_bytes, size_t budget_bytes,
                       size_t fused_bytes, size_t word_bytes) {
  // A slot holds at least the largest element for every peer.
  const size_t least_bytes = (16 * static_cast<size_t>(world_size) + 63) / 64 * 64;
  Geometry geometry{world_size, std::max(slot_bytes, least_bytes), depth, one_shot_bytes};
  geometry.fit_fused(fused_bytes, word_bytes, budget_bytes / 8 / static_cast<size_t>(world_size));
  const auto fits = [&] { return Staging::bytes_needed(geometry) <= budget_bytes; };
  while (!fits() && geometry.depth > 8) geometry.depth /= 2;
  if (!fits() && geometry.largest_slot(budget_bytes) < std::max(kPage, least_bytes)) geometry.depth = 4;
  if (!fits()) geometry.slot_bytes = std::max(geometry.largest_slot(budget_bytes), least_bytes);
  if (!fits()) geometry.fused_bytes = 0;
  return geometry;
}

void Geometry::fit_fused(size_t most, size_t words_most, size_t slot_bytes_most) {
  if (slot_bytes_most <= kFusedFirst) return;
  const size_t room = (slot_bytes_most - kFusedFirst) / 64 * 64;
  word_bytes = std::min({words_most, most, room / 4 / 64 * 64});
  fused_bytes = std::max(word_bytes, std::min(most, room - 2 * word_bytes));
}

size_t Geometry::largest_slot(size_t budget_bytes) const {
  Geometry empty = *this;
  empty.slot_bytes = 0;
  const size_t used = Staging::bytes_needed(empty) + kPage;  // which the last slot may fill in part
  if (used >= budget_bytes) return 0;
  const size_t bytes = (budget_bytes - used) / static_cast<size_t>(world_size) / depth;
  return bytes >= kPage ? bytes / kPage * kPage : bytes / 64 * 64;
}

Geometry Geometry::within(size_t bytes) const {
  return fit(world_size, slot_bytes, depth, one_shot_bytes, bytes, fused_bytes, word_bytes);
}

Staging::Staging(std::byte* base, const Geometry& geometry) : base_(base), geometry_(geometry) {
  const auto ranks = static_cast<size_t>(geometry.world_size);
  Cursor cursor{base};
  control_ = cursor.take<Control>(1, kPage);
  puts_ = cursor.take<Flag>(ranks, 64);
  gots_ = cursor.take<Flag>(ranks, 64);
  members_ = cursor.take<Member>(ranks, 64);
  slots_ = cursor.take<std::byte>(ranks * slots_bytes(), kPage);
  (void)cursor.take<std::byte>(0, kPage);
  bytes_ = cursor.at;
}

size_t Staging::bytes_needed(const Geometry& geometry) { return Staging(nullptr, geometry).bytes_; }

size_t Staging::slots_begin(int rank) const {
  return static_cast<size_t>(slots_ - base_) + static_cast<size_t>(rank) * slots_bytes();
}

void abort_group(Control& control, const std::string& reason) {
  Halt going = Halt::kNone;
  control.halt.compare_exchange_strong(going, Halt::kAborted);
  uint32_t expected = 0;
  if (control.abort.compare_exchange_strong(expected, 1)) {
    const size_t bytes = std::min(reason.size(), sizeof control.reason - 1);
    std::memcpy(control.reason, reason.data(), bytes);
    control.reason[bytes] = 0;
    control.abort.store(2, std::memory_order_release);
  }
  // A rank that dies between 1 and 2 must not hold the others: its reason is lost then, the abort is not.
  for (int round = 0; round < 1000 && !control.aborted(); ++round) std::this_thread::yield();
  control.abort.store(2, std::memory_order_release);
  control.bell.ring();
}

}  // namespace pinnedpg
