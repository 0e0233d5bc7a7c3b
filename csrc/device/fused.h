// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "device/host_device.h"
#include "device/reduce.h"
#include "memory/staging.h"

namespace pinnedpg {

/// As many ranks as a fused call has at most: its kernel's arguments hold what it moves.
constexpr size_t kFusedRanks = 32;

constexpr size_t kFusedUnit = 16, kFusedLine = 16;
/// Units of a chunk: 4 KiB.
constexpr uint32_t kFusedChunk = 256;
static_assert((1 + kFusedMost / kFusedUnit / kFusedChunk + kFusedRanks) * kFusedLinePitch <= kFusedFirst);

/// A call that is one kernel: puts, meets all ranks, gets. Of a small one the words carry their flags (two words of 4
/// bytes, each with a flag, are a line), so who sees a flag has the word, with no fence. A larger one has a line for
/// each chunk, written behind it and a fence: half the bytes. A flag is the step of the call, which a kernel counts on
/// its GPU and so can be replayed. It is compared for equality.
///
/// Two slots suffice. Each call meets all ranks, and the kernels of a rank run one after the other: who writes the slot
/// of step s has seen in s - 1 that every rank began s - 1, so it had ended s - 2 and read all that it wanted there.
///
/// A slot: a line that says which call this is, those of chunks; the first lines of all units of 16 bytes, the second
/// ones; then, for chunks, the units themselves. Only these are not lines: nothing there can be taken for a flag.
struct FusedRound {
  struct Put {
    const std::byte* from;
    uint32_t bytes;
    uint32_t shard;
  };
  struct Get {
    std::byte* to;         ///< unused where the round reduces
    const std::byte* own;  ///< not null: the bytes are the rank's own, and are read where they lie
    uint32_t bytes;
    uint16_t peer, shard;
  };

  Put puts[kFusedRanks];
  Get gets[kFusedRanks];
  uint32_t put_count = 0, get_count = 0;
  uint32_t shard_units = 0;  ///< of the largest shard
  bool reduces = false;      ///< the gets, in that order, into `reduced`
  bool in_chunks = false;    ///< that have flags; else words have
  bool in_turn = false;      ///< a get overwrites what another thread puts: all is to be put before
  bool in_place = false;     ///< it reduces just what it puts
  Reduction reduction{};
  std::byte* reduced = nullptr;
  uint32_t reduced_bytes = 0;

  uint32_t rank = 0, world_size = 1;
  std::byte* slots = nullptr;  ///< the first of rank 0
  size_t slot_bytes = 0;
  size_t word_bytes = 0;  ///< from the first line of a unit to its second
  size_t rank_pitch = 0;  ///< from one rank's slots to the next's
  uint64_t fingerprint = 0;
  bool patient = true;  ///< somebody else finds, and tells, that the ranks' calls do not fit
  std::atomic<Halt>* halt = nullptr;
  uint64_t limit_ns = 0;                  ///< of a wait
  std::atomic<uint32_t>* over = nullptr;  ///< gets `number` once all is done; null: nobody asks
  uint32_t number = 0;

  /// Where a rank's slot for that step begins.
  PINNEDPG_HD std::byte* slot(size_t of_rank, uint32_t step) const {
    return slots + of_rank * rank_pitch + (step & 1) * slot_bytes;
  }
  /// Where the first line of a unit lies in it.
  PINNEDPG_HD std::byte* words(size_t of_rank, uint32_t step, size_t shard, uint32_t unit) const {
    return slot(of_rank, step) + kFusedFirst + (shard * shard_units + unit) * kFusedLine;
  }
  /// Where a unit of a chunk does.
  PINNEDPG_HD std::byte* unit(size_t of_rank, uint32_t step, size_t shard, uint32_t unit) const {
    return slot(of_rank, step) + kFusedFirst + 2 * word_bytes + (shard * shard_units + unit) * kFusedUnit;
  }
  PINNEDPG_HD std::byte* chunk_line(size_t of_rank, uint32_t step, size_t shard, uint32_t chunk) const {
    return slot(of_rank, step) + (1 + shard * shard_chunks() + chunk) * kFusedLinePitch;
  }
  PINNEDPG_HD uint32_t shard_chunks() const { return (shard_units + kFusedChunk - 1) / kFusedChunk; }
};

/// Never 0, which a new slot holds, and in turn even and odd.
PINNEDPG_HD constexpr uint32_t next_fused_step(uint32_t step) { return step == UINT32_MAX ? 2 : step + 1; }

/// Whether a call is to write all lines of its slot: one that is not written for 2^32 calls would else seem new.
PINNEDPG_HD constexpr bool renews_slot(uint32_t step) { return (step & 0x3fffffff) < 2; }

/// Carries out the fused calls of one member, on one GPU.
class FusedQueue {
 public:
  /// Loads the kernels: later that could wait for a kernel that waits. Raises SystemError.
  explicit FusedQueue(int device);
  /// Waits for the GPU.
  ~FusedQueue();
  FusedQueue(const FusedQueue&) = delete;
  FusedQueue& operator=(const FusedQueue&) = delete;

  /// Queues it on the stream (a cudaStream_t of that GPU), or captures it. The caller sees to it that none runs before
  /// the last has ended. Once one has left in vain the later ones do nothing. Raises SystemError.
  void push(const FusedRound& round, void* stream);

 private:
  const int device_;
  void* state_ = nullptr;
};

}  // namespace pinnedpg
