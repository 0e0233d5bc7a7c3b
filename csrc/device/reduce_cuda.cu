// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <algorithm>
#include <mutex>
#include <set>

#include "device/cuda_stream.h"
#include "device/cuda_table.h"
#include "device/reduce_cuda.h"

namespace pinnedpg {
namespace {

constexpr int kThreads = 512;
/// Enough loads under way to fill a PCIe link of the fifth generation, and few enough to leave the GPU to others.
constexpr size_t kBlocks = 16;

struct Arguments {
  void* dst;
  const void* srcs[kCudaSources];
  const double* factors[kCudaSources];
  size_t src_count;
  size_t count;
};

/// A source is read once: nothing of it is to stay in the caches.
template <typename Element>
__device__ __forceinline__ Pack<Element> load_pack(const void* src, size_t i) {
  const uint4 bits = __ldcv(static_cast<const uint4*>(src) + i);
  Pack<Element> pack;
  memcpy(&pack, &bits, sizeof bits);
  return pack;
}

template <ReduceOp op>
__device__ __forceinline__ double factor_of(const Arguments& arguments, size_t k) {
  if constexpr (op == ReduceOp::kPremulSum) {
    return __ldcv(arguments.factors[k]);
  } else {
    return 1.0;
  }
}

template <typename Element, ReduceOp op>
__device__ __forceinline__ Element reduced(const Arguments& arguments, size_t i) {
  const auto at = [&](size_t k) {
    return term<op>(static_cast<const Element*>(arguments.srcs[k])[i], factor_of<op>(arguments, k));
  };
  auto acc = at(0);
  for (size_t k = 1; k < arguments.src_count; ++k) acc = combine<op>(acc, at(k));
  return Element::narrow(finish<op>(acc, arguments.src_count));
}

/// Elements that are not aligned, or too few for a pack.
template <typename Element, ReduceOp op>
__global__ void reduce_each(const __grid_constant__ Arguments arguments) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < arguments.count; i += stride) {
    static_cast<Element*>(arguments.dst)[i] = reduced<Element, op>(arguments, i);
  }
}

template <typename Element, ReduceOp op>
__global__ void reduce_packs(const __grid_constant__ Arguments arguments) {
  using Acc = typename Element::Acc;
  constexpr size_t kSize = Pack<Element>::kSize;
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (size_t i = first; i < arguments.count / kSize; i += stride) {
    Acc acc[kSize];
    for (size_t k = 0; k < arguments.src_count; ++k) {
      const Pack<Element> pack = load_pack<Element>(arguments.srcs[k], i);
      const double factor = factor_of<op>(arguments, k);
#pragma unroll
      for (size_t j = 0; j < kSize; ++j) {
        const Acc next = term<op>(pack.elements[j], factor);
        acc[j] = k == 0 ? next : combine<op>(acc[j], next);
      }
    }
    Pack<Element> result;
#pragma unroll
    for (size_t j = 0; j < kSize; ++j) result.elements[j] = Element::narrow(finish<op>(acc[j], arguments.src_count));
    static_cast<Pack<Element>*>(arguments.dst)[i] = result;
  }
  const size_t i = arguments.count / kSize * kSize + first;
  if (i < arguments.count) static_cast<Element*>(arguments.dst)[i] = reduced<Element, op>(arguments, i);
}

bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0; }

using Launch = void (*)(const Arguments&, cudaStream_t);

template <typename Element, ReduceOp op>
void launch(const Arguments& arguments, cudaStream_t stream) {
  const auto blocks_for = [](size_t items) {
    return static_cast<unsigned>(std::clamp<size_t>((items + kThreads - 1) / kThreads, 1, kBlocks));
  };
  const bool packs = sizeof(Element) <= kVectorBytes && is_aligned(arguments.dst) &&
                     std::all_of(arguments.srcs, arguments.srcs + arguments.src_count, is_aligned);
  if (packs) {
    reduce_packs<Element, op><<<blocks_for(arguments.count / Pack<Element>::kSize), kThreads, 0, stream>>>(arguments);
  } else {
    reduce_each<Element, op><<<blocks_for(arguments.count), kThreads, 0, stream>>>(arguments);
  }
}

template <typename Element, ReduceOp op>
cudaError_t load() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, reduce_packs<Element, op>);
  return error != cudaSuccess ? error : cudaFuncGetAttributes(&attributes, reduce_each<Element, op>);
}

struct Entry {
  Launch launch;
  cudaError_t (*load)();
};

template <typename Element, ReduceOp op>
struct EntryOf {
  static constexpr Entry value{&launch<Element, op>, &load<Element, op>};
};

constexpr auto kTable = make_cuda_table<Entry, EntryOf>();

}  // namespace

cudaError_t load_reductions(int device) {
  static std::mutex mutex;
  static std::set<int> loaded;
  std::lock_guard lock(mutex);
  if (!loaded.insert(device).second) return cudaSuccess;
  for (const auto& row : kTable.entries) {
    for (const Entry& entry : row) {
      if (entry.load == nullptr) continue;
      if (const cudaError_t error = entry.load(); error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

cudaError_t reduce_cuda(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                        std::span<const double* const> factors, void* stream) {
  if (srcs.size() > kCudaSources) return cudaErrorInvalidValue;
  const Lowered lowered = lower(reduction.dtype, reduction.op);
  Arguments arguments{};
  arguments.dst = seen_by_gpu(dst.data);
  arguments.src_count = srcs.size();
  arguments.count = dst.bytes() / element_bytes(reduction.dtype) * lowered.parts;
  for (size_t k = 0; k < srcs.size(); ++k) {
    arguments.srcs[k] = seen_by_gpu(srcs[k].data);
    if (!factors.empty()) arguments.factors[k] = seen_by_gpu(factors[k]);
  }
  kTable.of(lowered).launch(arguments, static_cast<cudaStream_t>(stream));
  return cudaGetLastError();
}

}  // namespace pinnedpg
