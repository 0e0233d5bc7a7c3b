// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What a thread of a fused call's kernel does on the stage. For fused.cu.
#pragma once

#include "device/fused.h"

namespace pinnedpg {

/// Looks between two at the clock and at what halts all.
constexpr uint32_t kFusedLookEvery = 64;

/// Of one member, on its GPU.
struct FusedState {
  uint32_t step;
  uint32_t dead;  ///< a call has left in vain: what comes after it must not reach a peer
  uint32_t left;  ///< blocks of the call under way that have
};

__device__ __forceinline__ uint4 load_line(const std::byte* at) {
  uint4 line;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(line.x), "=r"(line.y), "=r"(line.z), "=r"(line.w)
               : "l"(at)
               : "memory");
  return line;
}

__device__ __forceinline__ void store_line(std::byte* at, uint32_t first, uint32_t second, uint32_t flag) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};"
               :
               : "l"(at), "r"(first), "r"(flag), "r"(second)
               : "memory");
}

/// The flag of a line: what is loaded after it is what was stored before it.
__device__ __forceinline__ uint32_t load_flag(const std::byte* line) {
  uint32_t flag;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(flag) : "l"(line + sizeof flag) : "memory");
  return flag;
}

__device__ __forceinline__ void store_chunk_unit(std::byte* at, uint4 unit) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(at), "r"(unit.x), "r"(unit.y), "r"(unit.z), "r"(unit.w)
               : "memory");
}

__device__ __forceinline__ uint64_t now_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

/// Up to a unit of bytes anywhere; what lies beyond is 0. For few threads: not inlined, since that takes the compiler
/// long.
__device__ __noinline__ uint4 load_bytes(const std::byte* at, uint32_t count) {
  uint32_t words[4] = {};
#pragma unroll
  for (uint32_t i = 0; i < kFusedUnit; ++i) {
    if (i < count) words[i / 4] |= static_cast<uint32_t>(at[i]) << (i % 4 * 8);
  }
  return {words[0], words[1], words[2], words[3]};
}

__device__ __noinline__ void store_bytes(std::byte* at, uint32_t count, uint4 unit) {
  const uint32_t words[4] = {unit.x, unit.y, unit.z, unit.w};
#pragma unroll
  for (uint32_t i = 0; i < kFusedUnit; ++i) {
    if (i < count) at[i] = static_cast<std::byte>(words[i / 4] >> (i % 4 * 8));
  }
}

/// Unit `u` of a tensor's part.
__device__ __forceinline__ uint4 load_unit(const std::byte* part, uint32_t bytes, uint32_t u) {
  const std::byte* const at = part + size_t{u} * kFusedUnit;
  const uint32_t count = bytes - u * kFusedUnit;
  const bool is_whole = count >= kFusedUnit && reinterpret_cast<uintptr_t>(at) % kFusedUnit == 0;
  return is_whole ? *reinterpret_cast<const uint4*>(at) : load_bytes(at, count);
}

__device__ __forceinline__ void store_unit(std::byte* part, uint32_t bytes, uint32_t u, uint4 unit) {
  std::byte* const at = part + size_t{u} * kFusedUnit;
  const uint32_t count = bytes - u * kFusedUnit;
  const bool is_whole = count >= kFusedUnit && reinterpret_cast<uintptr_t>(at) % kFusedUnit == 0;
  if (is_whole)
    *reinterpret_cast<uint4*>(at) = unit;
  else
    store_bytes(at, count, unit);
}

/// Writes the lines of the own slot that the call does not: `each` units that are put have one.
__device__ __forceinline__ void renew_lines(const FusedRound& round, uint32_t step, std::byte* lines, size_t pitch,
                                            size_t bytes, uint32_t each) {
  const uint32_t shard_lines = (round.shard_units + each - 1) / each;
  for (uint32_t i = threadIdx.x; i < bytes / pitch; i += blockDim.x) {
    const uint32_t shard = shard_lines == 0 ? 0 : i / shard_lines;
    const uint32_t u = (i - shard * shard_lines) * each;
    bool is_put = false;
    for (uint32_t k = 0; k < round.put_count && round.in_chunks == (each > 1); ++k) {
      is_put |= round.puts[k].shard == shard && u * kFusedUnit < round.puts[k].bytes;
    }
    if (!is_put) store_line(lines + i * pitch, 0, 0, step);
  }
}

__device__ __noinline__ void renew_slot(const FusedRound& round, uint32_t step) {
  std::byte* const words = round.words(round.rank, step, 0, 0);
  std::byte* const chunks = round.chunk_line(round.rank, step, 0, 0);
  renew_lines(round, step, chunks, kFusedLinePitch, kFusedFirst - kFusedLinePitch, kFusedChunk);
  renew_lines(round, step, words, kFusedLine, round.word_bytes, 1);
  renew_lines(round, step, words + round.word_bytes, kFusedLine, round.word_bytes, 1);
}

/// What a thread still waits for may come. What it does is not inlined: that takes the compiler long.
class FusedPatience {
 public:
  __device__ FusedPatience(const FusedRound& round, FusedState& state)
      : halt_(reinterpret_cast<volatile uint32_t*>(round.halt)), limit_ns_(round.limit_ns), state_(state) {}

  /// Between two looks. False: all leave.
  __device__ __noinline__ bool goes_on() {
    if (in_vain_) return false;
    if (++looks_ % kFusedLookEvery != 0) return true;
    const uint64_t now = now_ns();
    if (began_ == 0) began_ = now;
    const bool halted = *halt_ != 0;
    if (!halted && now - began_ < limit_ns_) return true;
    leave(halted ? Halt::kNone : Halt::kLate);
    return false;
  }

  /// In vain: and tells all, where it is the first to find why.
  __device__ __noinline__ void leave(Halt why) {
    in_vain_ = true;
    *static_cast<volatile uint32_t*>(&state_.dead) = 1;
    if (why == Halt::kNone) return;
    *halt_ = static_cast<uint32_t>(why);
    __threadfence_system();
  }

  /// A chunk has come, or in vain: what is loaded next is its.
  __device__ __noinline__ void await_flag(const std::byte* line, uint32_t flag) {
    while (load_flag(line) != flag && goes_on()) {
    }
  }

  /// The line as it is with that flag, or in vain.
  __device__ __noinline__ uint4 await(const std::byte* at, uint32_t flag) {
    uint4 line = load_line(at);
    while ((line.y != flag || line.w != flag) && goes_on()) line = load_line(at);
    return line;
  }

 private:
  volatile uint32_t* const halt_;
  const uint64_t limit_ns_;
  FusedState& state_;
  uint32_t looks_ = 0;
  bool in_vain_ = false;
  uint64_t began_ = 0;
};

/// A thread's part in a call.
class FusedTurn {
 public:
  __device__ FusedTurn(const FusedRound& round, FusedState& state, uint32_t step)
      : round_(round), step_(step), patience_(round, state) {}

  __device__ std::byte* slot(uint32_t rank) const { return round_.slot(rank, step_); }
  __device__ bool has_come(uint4 line) const { return line.y == step_ && line.w == step_; }

  __device__ void put_words(uint32_t shard, uint32_t u, uint4 unit) const {
    std::byte* const at = round_.words(round_.rank, step_, shard, u);
    store_line(at, unit.x, unit.y, step_);
    store_line(at + round_.word_bytes, unit.z, unit.w, step_);
  }

  /// A peer's unit as it is now: its two lines, or itself, in a chunk that has come.
  struct Seen {
    const std::byte* at;
    uint4 a, b;
  };
  __device__ Seen look(const FusedRound::Get& get, uint32_t u) const {
    Seen seen;
    seen.at =
        round_.in_chunks ? round_.unit(get.peer, step_, get.shard, u) : round_.words(get.peer, step_, get.shard, u);
    seen.a = load_line(seen.at);
    if (!round_.in_chunks) seen.b = load_line(seen.at + round_.word_bytes);
    return seen;
  }
  /// The unit, once it has come.
  __device__ uint4 get(Seen seen) {
    auto& [at, a, b] = seen;
    if (round_.in_chunks) return a;
    if (!has_come(a)) a = patience_.await(at, step_);
    if (!has_come(b)) b = patience_.await(at + round_.word_bytes, step_);
    return {a.x, a.z, b.x, b.z};
  }

  /// The block, of a thread for each unit, puts a chunk, then says so.
  __device__ void put_chunk(const FusedRound::Put& put, uint32_t chunk) const {
    const uint32_t u = chunk * kFusedChunk + threadIdx.x;
    if (u * kFusedUnit < put.bytes) {
      store_chunk_unit(round_.unit(round_.rank, step_, put.shard, u), load_unit(put.from, put.bytes, u));
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    __threadfence_system();
    store_line(round_.chunk_line(round_.rank, step_, put.shard, chunk), 0, 0, step_);
  }

  /// This thread waits for a chunk, before its block reads it.
  __device__ void await_chunk(uint32_t rank, uint32_t shard, uint32_t chunk) {
    patience_.await_flag(round_.chunk_line(rank, step_, shard, chunk), step_);
  }

  /// Thread t meets rank t: sees that it makes the same call.
  __device__ void meet() {
    const uint32_t first = static_cast<uint32_t>(round_.fingerprint), second = round_.fingerprint >> 32;
    const uint32_t rank = threadIdx.x;
    if (renews_slot(step_)) renew_slot(round_, step_);
    if (rank == round_.rank) store_line(slot(rank), first, second, step_);
    if (rank == round_.rank || rank >= round_.world_size) return;
    for (uint4 line = load_line(slot(rank));; line = load_line(slot(rank))) {
      const bool fits = line.x == first && line.z == second;
      if (has_come(line) && fits) return;
      if (has_come(line) && !round_.patient) return patience_.leave(Halt::kMisfit);
      if (!patience_.goes_on()) return;
    }
  }

 private:
  const FusedRound& round_;
  const uint32_t step_;
  FusedPatience patience_;
};

}  // namespace pinnedpg
