// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <algorithm>

#include "device/cuda_check.h"
#include "device/cuda_stream.h"
#include "device/cuda_table.h"
#include "device/fused.h"

namespace pinnedpg {
namespace {

/// Small blocks, so that many multiprocessors take part (each has few reads of host memory under way); one more meets.
constexpr int kThreads = 64;
constexpr uint32_t kMoversMost = 64;
/// Peers whose words are on their way at once.
constexpr uint32_t kBatch = 4;
constexpr uint32_t kLookEvery = 64;
static_assert(kFusedRanks <= kThreads);

/// Of one member, on its GPU.
struct State {
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

__device__ __forceinline__ uint64_t now_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

/// Unit `u` of a tensor's part; what lies beyond its end is 0.
__device__ __forceinline__ uint4 load_unit(const std::byte* part, uint32_t bytes, uint32_t u) {
  const std::byte* const at = part + size_t{u} * kFusedUnit;
  const uint32_t count = bytes - u * kFusedUnit;
  if (count >= kFusedUnit && reinterpret_cast<uintptr_t>(at) % kFusedUnit == 0) {
    return *reinterpret_cast<const uint4*>(at);
  }
  uint32_t words[4] = {};
#pragma unroll
  for (uint32_t i = 0; i < kFusedUnit; ++i) {
    if (i < count) words[i / 4] |= static_cast<uint32_t>(at[i]) << (i % 4 * 8);
  }
  return {words[0], words[1], words[2], words[3]};
}

__device__ __forceinline__ void store_unit(std::byte* part, uint32_t bytes, uint32_t u, uint4 unit) {
  std::byte* const at = part + size_t{u} * kFusedUnit;
  const uint32_t count = bytes - u * kFusedUnit;
  if (count >= kFusedUnit && reinterpret_cast<uintptr_t>(at) % kFusedUnit == 0) {
    *reinterpret_cast<uint4*>(at) = unit;
    return;
  }
  const uint32_t words[4] = {unit.x, unit.y, unit.z, unit.w};
#pragma unroll
  for (uint32_t i = 0; i < kFusedUnit; ++i) {
    if (i < count) at[i] = static_cast<std::byte>(words[i / 4] >> (i % 4 * 8));
  }
}

/// A thread's part in a call.
class Turn {
 public:
  __device__ Turn(const FusedRound& round, State& state, uint32_t step) : round_(round), state_(state), step_(step) {}

  __device__ std::byte* slot(uint32_t rank) const { return round_.slot(rank, step_); }
  __device__ std::byte* place(uint32_t rank, uint32_t shard, uint32_t u) const {
    return round_.place(rank, step_, shard, u);
  }
  __device__ bool has_come(uint4 line) const { return line.y == step_ && line.w == step_; }

  __device__ void put(uint32_t shard, uint32_t u, uint4 unit) const {
    std::byte* const at = place(round_.rank, shard, u);
    store_line(at, unit.x, unit.y, step_);
    store_line(at + kFusedLine, unit.z, unit.w, step_);
  }

  /// Of a place the two lines that have just been loaded, once they have come.
  __device__ uint4 get(const std::byte* at, uint4 a, uint4 b) {
    while (!has_come(a) && goes_on()) a = load_line(at);
    while (!has_come(b) && goes_on()) b = load_line(at + kFusedLine);
    return {a.x, a.z, b.x, b.z};
  }

  /// Between two looks at what is waited for. False: all leave.
  __device__ bool goes_on() {
    if (in_vain_) return false;
    if (++looks_ % kLookEvery != 0) return true;
    const uint64_t now = now_ns();
    if (began_ == 0) began_ = now;
    const bool halted = *reinterpret_cast<const volatile uint32_t*>(round_.halt) != 0;
    if (!halted && now - began_ < round_.limit_ns) return true;
    leave(halted ? Halt::kNone : Halt::kLate);
    return false;
  }

  /// In vain: and tells all, where it is the first to find why.
  __device__ void leave(Halt why) {
    in_vain_ = true;
    *static_cast<volatile uint32_t*>(&state_.dead) = 1;
    if (why == Halt::kNone) return;
    *reinterpret_cast<volatile uint32_t*>(round_.halt) = static_cast<uint32_t>(why);
    __threadfence_system();
  }

  /// Thread t meets rank t: sees that it makes the same call.
  __device__ void meet() {
    const uint32_t first = static_cast<uint32_t>(round_.fingerprint), second = round_.fingerprint >> 32;
    const uint32_t rank = threadIdx.x;
    if (renews_slot(step_)) renew();
    if (rank == round_.rank) store_line(slot(rank), first, second, step_);
    if (rank == round_.rank || rank >= round_.world_size) return;
    for (uint4 line = load_line(slot(rank));; line = load_line(slot(rank))) {
      const bool fits = line.x == first && line.z == second;
      if (has_come(line) && fits) return;
      if (has_come(line) && !round_.patient) return leave(Halt::kMisfit);
      if (!goes_on()) return;
    }
  }

 private:
  /// Writes the lines of the own slot that the call does not put.
  __device__ void renew() const {
    std::byte* const lines = slot(round_.rank) + kFusedFirst;
    for (uint32_t i = threadIdx.x; i < (round_.slot_bytes - kFusedFirst) / kFusedLine; i += blockDim.x) {
      const uint32_t shard = round_.shard_units == 0 ? 0 : i / 2 / round_.shard_units;
      const uint32_t u = i / 2 - shard * round_.shard_units;
      bool is_put = false;
      for (uint32_t k = 0; k < round_.put_count; ++k) {
        is_put |= round_.puts[k].shard == shard && u * kFusedUnit < round_.puts[k].bytes;
      }
      if (!is_put) store_line(lines + size_t{i} * kFusedLine, 0, 0, step_);
    }
  }

  const FusedRound& round_;
  State& state_;
  const uint32_t step_;
  uint32_t looks_ = 0;
  bool in_vain_ = false;
  uint64_t began_ = 0;
};

/// The first block meets the ranks; the others move. `get(turn, first, stride)` gets the units of a thread.
template <typename Get>
__device__ __forceinline__ void carry_out(const FusedRound& round, State& state, const Get& get) {
  const uint32_t step = next_fused_step(state.step);
  const bool dead = state.dead != 0;
  Turn turn(round, state, step);
  const uint32_t first = (blockIdx.x - 1) * blockDim.x + threadIdx.x, stride = (gridDim.x - 1) * blockDim.x;
  if (!dead && blockIdx.x == 0) turn.meet();
  for (uint32_t i = first; !dead && blockIdx.x > 0 && i < round.put_count * round.shard_units; i += stride) {
    const FusedRound::Put& put = round.puts[i / round.shard_units];
    const uint32_t u = i % round.shard_units;
    if (u * kFusedUnit < put.bytes) turn.put(put.shard, u, load_unit(put.from, put.bytes, u));
  }
  __syncthreads();
  if (!dead && blockIdx.x > 0) get(turn, first, stride);
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicAdd(&state.left, 1) + 1 < gridDim.x) return;
  state.left = 0;
  state.step = step;
  __threadfence_system();
  if (round.over != nullptr) *reinterpret_cast<volatile uint32_t*>(round.over) = round.number;
}

__global__ void fused_copy(const __grid_constant__ FusedRound round, State* state) {
  carry_out(round, *state, [&round](Turn& turn, uint32_t first, uint32_t stride) {
    for (uint32_t i = first; i < round.get_count * round.shard_units; i += stride) {
      const FusedRound::Get& get = round.gets[i / round.shard_units];
      const uint32_t u = i % round.shard_units;
      if (u * kFusedUnit >= get.bytes) continue;
      const std::byte* const at = turn.place(get.peer, get.shard, u);
      const uint4 unit = get.own != nullptr ? load_unit(get.own, get.bytes, u)
                                            : turn.get(at, load_line(at), load_line(at + kFusedLine));
      store_unit(get.to, get.bytes, u, unit);
    }
  });
}

/// One unit of the result. The words of several peers are asked for before the first is waited for.
template <typename Element, ReduceOp op>
__device__ __forceinline__ void reduce_unit(const FusedRound& round, Turn& turn, uint32_t u) {
  using Acc = typename Element::Acc;
  constexpr uint32_t kSize = Pack<Element>::kSize;
  Acc acc[kSize];
  for (uint32_t k = 0; k < round.get_count; k += kBatch) {
    uint4 a[kBatch], b[kBatch];
#pragma unroll
    for (uint32_t j = 0; j < kBatch; ++j) {
      if (k + j >= round.get_count) continue;
      const FusedRound::Get& get = round.gets[k + j];
      const std::byte* const at = turn.place(get.peer, get.shard, u);
      a[j] = get.own != nullptr ? load_unit(get.own, round.reduced_bytes, u) : load_line(at);
      if (get.own == nullptr) b[j] = load_line(at + kFusedLine);
    }
#pragma unroll
    for (uint32_t j = 0; j < kBatch; ++j) {
      if (k + j >= round.get_count) continue;
      const FusedRound::Get& get = round.gets[k + j];
      const uint4 unit = get.own != nullptr ? a[j] : turn.get(turn.place(get.peer, get.shard, u), a[j], b[j]);
      Pack<Element> pack;
      memcpy(&pack, &unit, sizeof unit);
#pragma unroll
      for (uint32_t e = 0; e < kSize; ++e) {
        const Acc next = term<op>(pack.elements[e], 1.0);
        acc[e] = k + j == 0 ? next : combine<op>(acc[e], next);
      }
    }
  }
  Pack<Element> result;
#pragma unroll
  for (uint32_t e = 0; e < kSize; ++e) result.elements[e] = Element::narrow(finish<op>(acc[e], round.get_count));
  uint4 unit;
  memcpy(&unit, &result, sizeof unit);
  store_unit(round.reduced, round.reduced_bytes, u, unit);
}

template <typename Element, ReduceOp op>
__global__ void fused_reduce(const __grid_constant__ FusedRound round, State* state) {
  carry_out(round, *state, [&round](Turn& turn, uint32_t first, uint32_t stride) {
    for (uint32_t u = first; u * kFusedUnit < round.reduced_bytes; u += stride) {
      reduce_unit<Element, op>(round, turn, u);
    }
  });
}

using Kernel = void (*)(FusedRound, State*);

template <typename Element, ReduceOp op>
struct KernelOf {
  static constexpr Kernel value = [] {
    if constexpr (op == ReduceOp::kPremulSum) {
      return Kernel{nullptr};  // not fused: the factors of the others would have to be waited for
    } else {
      return Kernel{&fused_reduce<Element, op>};
    }
  }();
};

constexpr auto kTable = make_cuda_table<Kernel, KernelOf>();

/// Blocks that move: one where what is put before must be all of it.
uint32_t movers(const FusedRound& round) {
  const uint32_t gets = round.reduces ? 1 : round.get_count;
  const uint32_t units = std::max(round.put_count, gets) * round.shard_units;
  const uint32_t most = round.in_turn ? 1 : kMoversMost;
  return std::min((units + kThreads - 1) / kThreads, most);
}

}  // namespace

FusedQueue::FusedQueue(int device) : device_(device) {
  const CurrentDevice current(device);
  const auto load = [](Kernel kernel) {
    cudaFuncAttributes attributes;
    check_cuda(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes", "CUDA: cannot load a kernel");
  };
  load(&fused_copy);
  for (const auto& row : kTable.entries) {
    for (const Kernel kernel : row) {
      if (kernel != nullptr) load(kernel);
    }
  }
  check_cuda(cudaMalloc(&state_, sizeof(State)), "cudaMalloc", "CUDA: no memory on GPU ", device);
  const State none{};
  check_cuda(cudaMemcpy(state_, &none, sizeof none, cudaMemcpyHostToDevice), "cudaMemcpy", "CUDA: cannot use GPU ",
             device);
}

FusedQueue::~FusedQueue() { (void)cudaFree(state_); }

void FusedQueue::push(const FusedRound& round, void* stream) {
  const CurrentDevice current(device_);
  const Kernel kernel = round.reduces ? kTable.of(lower(round.reduction.dtype, round.reduction.op)) : &fused_copy;
  kernel<<<1 + movers(round), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(round, static_cast<State*>(state_));
  check_cuda(cudaGetLastError(), "cudaLaunchKernel", "CUDA: cannot queue a small call");
}

}  // namespace pinnedpg
