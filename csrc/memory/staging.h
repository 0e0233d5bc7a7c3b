// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/bell.h"
#include "memory/flag.h"
#include "memory/label.h"
#include "memory/process.h"

namespace pinnedpg {

/// A rank moves no more in a fused call.
constexpr size_t kFusedMost = 1 << 20;
/// The lines of a slot for fused calls: one tells of the call, the others of chunks, as many as a call can have. Apart,
/// since many wait for them at once.
constexpr size_t kFusedLinePitch = 64, kFusedFirst = 320 * kFusedLinePitch;

/// How a segment is divided. The creator of a segment decides; the others read it there.
struct Geometry {
  int world_size = 1;
  size_t slot_bytes = 128 << 10;     ///< of one rank for one step
  uint32_t depth = 16;               ///< slots of one rank; a power of two, at least 4 (design.md, "Depth")
  size_t one_shot_bytes = 64 << 10;  ///< up to here all_reduce takes one exchange
  size_t fused_bytes = 0;            ///< up to here a GPU does a call in one kernel, in slots of their own; 0: none
  size_t word_bytes = 0;             ///< of these, up to here each word has its flag; above, each chunk

  /// For a depth that is a power of two from 4, and slots of a multiple of 64 bytes. A ring of at least 8 slots if it
  /// is to have as many, then the largest slots for which a group stays within `budget_bytes`; of 32 MiB that holds for
  /// up to 600 ranks. Never less than four slots that hold an element for every peer.
  static Geometry fit(int world_size, size_t slot_bytes, uint32_t depth, size_t one_shot_bytes, size_t budget_bytes,
                      size_t fused_bytes = 0, size_t word_bytes = 0);
  /// The same with slots that fit into so many bytes; the places of all else in the segment stay. What is needed may
  /// be more all the same: a slot has a least size.
  Geometry within(size_t bytes) const;

  bool has_chunks() const { return fused_bytes > word_bytes; }

 private:
  size_t largest_slot(size_t budget_bytes) const;
  /// Two slots of a rank for fused calls, of at most so many bytes each: a quarter of it all.
  void fit_fused(size_t most, size_t words_most, size_t slot_bytes_most);
};

enum class Presence : uint32_t { kAbsent, kPresent, kLeft };

/// Who waits for a peer in calls that GPUs carry out.
enum class Waits : uint32_t { kUnknown, kGpu, kHost };

/// What tells one GPU from another, on all ranks; all 0: none.
using GpuId = std::array<uint8_t, 16>;

/// Why kernels that wait are to leave. A GPU writes the last two.
enum class Halt : uint32_t { kNone, kAborted, kLate, kMisfit };

/// What a rank shows of itself.
struct alignas(64) Member {
  std::atomic<Presence> presence;
  ProcessId process;
  alignas(64) std::array<Label, 16> labels;  ///< of its newest calls, by call number: modulo 4, or 16 where it queues
  /// Of a rank that queues its calls (on a GPU): how many it has made, of how many it has compared the labels, and how
  /// many are over.
  alignas(64) std::atomic<uint64_t> entered;
  std::atomic<uint64_t> compared;
  std::atomic<uint64_t> over;
  std::atomic<Waits> waits;
  GpuId gpu;  ///< that alone carries out its calls, as far as it knows; there once `waits` is known, as is
  std::atomic<size_t> pinned;  ///< how much of the segment, from its beginning, its GPUs see
  Flag fused;                  ///< the last of its calls that was one kernel and is over
  Flag queued;                 ///< likewise of those whose end it marks that were queued in parts
};

/// What all ranks of a group share beside flags and slots.
struct alignas(64) Control {
  Geometry geometry;
  alignas(64) std::atomic<uint32_t> abort;  ///< 0; 1: a rank writes the reason; 2: aborted
  std::atomic<Halt> halt;                   ///< what GPUs look at; with an abort, or ahead of it
  char reason[1024];
  Bell bell;

  bool aborted() const { return abort.load(std::memory_order_acquire) == 2; }
};

/// The addresses in a segment, all from one cursor. Copies are cheap and refer to the same memory; it owns nothing.
class Staging {
 public:
  /// Over a segment of at least `bytes_needed(geometry)` zeroed bytes.
  Staging(std::byte* base, const Geometry& geometry);

  /// Whole pages.
  static size_t bytes_needed(const Geometry& geometry);

  const Geometry& geometry() const { return geometry_; }
  /// Nothing has been put on the stage yet: its slots get smaller. All ranks do the same.
  void shrink(const Geometry& geometry) { geometry_ = geometry; }
  Control& control() const { return *control_; }
  Member& member(int rank) const { return members_[rank]; }
  Flag& put(int rank) const { return puts_[rank]; }
  Flag& got(int rank) const { return gots_[rank]; }
  /// The slot of a rank for a step; the ring of slots is as deep as the geometry says.
  std::byte* slot(int rank, uint32_t step) const {
    return slots_ + static_cast<size_t>(rank) * slots_bytes() + (step & (geometry_.depth - 1)) * geometry_.slot_bytes;
  }
  /// Of the two slots of a rank for fused calls the first, for even steps: see device/fused.h.
  std::byte* fused_slots(int rank) const { return slot(rank, 0) + geometry_.slot_bytes * geometry_.depth; }
  /// Lines that tell of the call and of chunks, then words, which have their flags, and chunks.
  size_t fused_slot_bytes() const {
    if (geometry_.fused_bytes == 0) return 0;
    return kFusedFirst + 2 * geometry_.word_bytes + (geometry_.has_chunks() ? geometry_.fused_bytes : 0);
  }
  /// All slots of a rank, as an offset into the segment: the rank itself touches them first.
  size_t slots_begin(int rank) const;
  size_t slots_bytes() const { return geometry_.slot_bytes * geometry_.depth + 2 * fused_slot_bytes(); }
  /// Everything before the first slot.
  size_t control_bytes() const { return slots_begin(0); }

 private:
  std::byte* base_;
  Geometry geometry_;
  Control* control_;
  Member* members_;
  Flag* puts_;
  Flag* gots_;
  std::byte* slots_;
  size_t bytes_;
};

/// Makes every later call of the group raise `reason`. The first reason stays. Returns once the group is aborted.
void abort_group(Control& control, const std::string& reason);

}  // namespace pinnedpg
