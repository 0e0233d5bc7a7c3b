// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <algorithm>

#include "device/cuda_check.h"
#include "device/cuda_stream.h"
#include "device/cuda_table.h"
#include "device/fused_turn.h"

namespace pinnedpg {
namespace {

constexpr uint32_t kMoversMost = 64;
/// Small blocks, so that many multiprocessors take part (each has few reads of host memory under way); one more meets.
constexpr uint32_t kThreads = 64;
static_assert(kFusedRanks <= kThreads);
/// Peers whose words are on their way at once.
constexpr uint32_t kBatch = 4;

/// The blocks that share a task, and which of them this one is.
struct Share {
  uint32_t block, blocks;

  __device__ uint32_t thread() const { return block * blockDim.x + threadIdx.x; }
  __device__ uint32_t threads() const { return blocks * blockDim.x; }
};

__device__ __forceinline__ void put_all(const FusedRound& round, FusedTurn& turn, Share share) {
  if (round.in_chunks) {
    const uint32_t chunks = round.shard_chunks();
    for (uint32_t i = share.block; i < round.put_count * chunks; i += share.blocks) {
      turn.put_chunk(round.puts[i / chunks], i % chunks);
    }
    return;
  }
  for (uint32_t i = share.thread(); i < round.put_count * round.shard_units; i += share.threads()) {
    const FusedRound::Put& put = round.puts[i / round.shard_units];
    const uint32_t u = i % round.shard_units;
    if (u * kFusedUnit < put.bytes) turn.put_words(put.shard, u, load_unit(put.from, put.bytes, u));
  }
}

/// The first block meets the ranks, so many after it put, the others get: those that put, too, if there are no others.
/// `get(turn, share)` gets a block's share.
template <typename Get>
__device__ __forceinline__ void carry_out(const FusedRound& round, FusedState& state, uint32_t putters,
                                          const Get& get) {
  const uint32_t step = next_fused_step(state.step);
  const bool dead = state.dead != 0;
  FusedTurn turn(round, state, step);
  const uint32_t mover = blockIdx.x - 1, movers = gridDim.x - 1;
  const bool is_one = putters == movers;  // or all do both
  if (!dead && blockIdx.x == 0) turn.meet();
  if (!dead && blockIdx.x > 0 && mover < putters) put_all(round, turn, {mover, putters});
  __syncthreads();
  if (!dead && blockIdx.x > 0 && is_one) get(turn, Share{mover, movers});
  if (!dead && blockIdx.x > 0 && !is_one && mover >= putters) get(turn, Share{mover - putters, movers - putters});
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicAdd(&state.left, 1) + 1 < gridDim.x) return;
  state.left = 0;
  state.step = step;
  __threadfence_system();
  if (round.over != nullptr) *reinterpret_cast<volatile uint32_t*>(round.over) = round.number;
}

/// The unit of a chunk that this thread has.
__device__ __forceinline__ uint32_t unit_of(uint32_t chunk) { return chunk * kFusedChunk + threadIdx.x; }

__device__ __forceinline__ void copy_unit(FusedTurn& turn, const FusedRound::Get& get, uint32_t u) {
  if (u * kFusedUnit >= get.bytes) return;
  const uint4 unit = get.own != nullptr ? load_unit(get.own, get.bytes, u) : turn.get(turn.look(get, u));
  store_unit(get.to, get.bytes, u, unit);
}

__global__ void fused_copy(const __grid_constant__ FusedRound round, FusedState* state, uint32_t putters) {
  carry_out(round, *state, putters, [&round](FusedTurn& turn, Share share) {
    const uint32_t chunks = round.in_chunks ? round.shard_chunks() : 0;
    for (uint32_t i = share.block; i < round.get_count * chunks; i += share.blocks) {
      const FusedRound::Get& get = round.gets[i / chunks];
      const bool is_peers = i % chunks * kFusedChunk * kFusedUnit < get.bytes && get.own == nullptr;
      if (threadIdx.x == 0 && is_peers) turn.await_chunk(get.peer, get.shard, i % chunks);
      __syncthreads();
      copy_unit(turn, get, unit_of(i % chunks));
    }
    const uint32_t units = round.in_chunks ? 0 : round.shard_units;
    for (uint32_t i = share.thread(); i < round.get_count * units; i += share.threads()) {
      copy_unit(turn, round.gets[i / units], i % units);
    }
  });
}

/// One unit of the result. The words of several peers are asked for before the first is waited for.
template <typename Element, ReduceOp op>
__device__ __forceinline__ void reduce_unit(const FusedRound& round, FusedTurn& turn, uint32_t u) {
  using Acc = typename Element::Acc;
  constexpr uint32_t kSize = Pack<Element>::kSize;
  if (u * kFusedUnit >= round.reduced_bytes) return;
  Acc acc[kSize];
  for (uint32_t k = 0; k < round.get_count; k += kBatch) {
    FusedTurn::Seen seen[kBatch];
#pragma unroll
    for (uint32_t j = 0; j < kBatch; ++j) {
      if (k + j >= round.get_count) continue;
      const FusedRound::Get& get = round.gets[k + j];
      if (get.own != nullptr)
        seen[j].a = load_unit(get.own, round.reduced_bytes, u);
      else
        seen[j] = turn.look(get, u);
    }
#pragma unroll
    for (uint32_t j = 0; j < kBatch; ++j) {
      if (k + j >= round.get_count) continue;
      const uint4 unit = round.gets[k + j].own != nullptr ? seen[j].a : turn.get(seen[j]);
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

/// Thread k waits for the chunk of get k. The own one, where it is what is overwritten.
__device__ __forceinline__ void await_chunks(const FusedRound& round, FusedTurn& turn, uint32_t chunk) {
  if (threadIdx.x < round.get_count) {
    const FusedRound::Get& get = round.gets[threadIdx.x];
    if (get.own == nullptr)
      turn.await_chunk(get.peer, get.shard, chunk);
    else if (round.in_place)
      turn.await_chunk(round.rank, round.puts[0].shard, chunk);
  }
  __syncthreads();
}

template <typename Element, ReduceOp op>
__global__ void fused_reduce(const __grid_constant__ FusedRound round, FusedState* state, uint32_t putters) {
  carry_out(round, *state, putters, [&round](FusedTurn& turn, Share share) {
    // One loop for both, since the compiler takes long over each: of words a pass is a block's threads.
    const uint32_t pass = round.in_chunks ? kFusedChunk : blockDim.x;
    for (uint32_t i = share.block; i * pass * kFusedUnit < round.reduced_bytes; i += share.blocks) {
      if (round.in_chunks) await_chunks(round, turn, i);
      reduce_unit<Element, op>(round, turn, i * pass + threadIdx.x);
    }
  });
}

using Kernel = void (*)(FusedRound, FusedState*, uint32_t);

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

struct Blocks {
  uint32_t putters, getters;  ///< no getters: the putters get, too
};

/// One block where what is put before must be all of it. Those that put chunks do not wait, so others get meanwhile.
Blocks blocks_of(const FusedRound& round) {
  if (round.in_turn) return {1, 0};
  const uint32_t gets = round.reduces ? 1 : round.get_count;
  if (round.in_chunks) {
    const uint32_t chunks = round.shard_chunks();
    return {std::min(round.put_count * chunks, kMoversMost), std::min(gets * chunks, kMoversMost)};
  }
  const uint32_t units = std::max(round.put_count, gets) * round.shard_units;
  return {std::min((units + kThreads - 1) / kThreads, kMoversMost), 0};
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
  check_cuda(cudaMalloc(&state_, sizeof(FusedState)), "cudaMalloc", "CUDA: no memory on GPU ", device);
  const FusedState none{};
  check_cuda(cudaMemcpy(state_, &none, sizeof none, cudaMemcpyHostToDevice), "cudaMemcpy", "CUDA: cannot use GPU ",
             device);
}

FusedQueue::~FusedQueue() { (void)cudaFree(state_); }

void FusedQueue::push(const FusedRound& round, void* stream) {
  const CurrentDevice current(device_);
  const Kernel kernel = round.reduces ? kTable.of(lower(round.reduction.dtype, round.reduction.op)) : &fused_copy;
  const auto [putters, getters] = blocks_of(round);
  const uint32_t threads = round.in_chunks ? kFusedChunk : kThreads;
  kernel<<<1 + putters + getters, threads, 0, static_cast<cudaStream_t>(stream)>>>(
      round, static_cast<FusedState*>(state_), putters);
  check_cuda(cudaGetLastError(), "cudaLaunchKernel", "CUDA: cannot queue a small call");
}

}  // namespace pinnedpg
