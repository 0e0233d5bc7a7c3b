// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "device/stream.h"

namespace pinnedpg {

/// As many ranks as one reduction adds up: its kernel's arguments hold their addresses.
constexpr size_t kCudaSources = 128;

/// A point in a GPU's work.
class CudaMark {
 public:
  CudaMark() = default;
  virtual ~CudaMark() = default;
  CudaMark(const CudaMark&) = delete;
  CudaMark& operator=(const CudaMark&) = delete;

  /// What is queued on the stream (a cudaStream_t of the current GPU) later comes after the mark. Never blocks the
  /// host. Raises SystemError.
  virtual void hold(void* stream) const = 0;
  /// Whether all before the mark is done. Raises SystemError.
  virtual bool is_over() const = 0;
};

/// The end of what is queued on a stream when it is recorded.
class CudaEvent final : public CudaMark {
 public:
  /// On that GPU. Raises SystemError.
  explicit CudaEvent(int device);
  /// And marks all that is queued on the stream now.
  CudaEvent(int device, void* stream) : CudaEvent(device) { record(stream); }
  ~CudaEvent() override;

  /// Marks all that is queued on the stream (a cudaStream_t) now. Raises SystemError.
  void record(void* stream);
  void hold(void* stream) const override;
  /// Raises SystemError: also for what failed on the GPU.
  bool is_over() const override;
  /// Blocks until it is. Raises SystemError likewise.
  void synchronize() const;

 private:
  const int device_;
  void* event_ = nullptr;
  void* stream_ = nullptr;  ///< of the mark
};

/// A stream of a GPU's work: it only queues, and never blocks the host. Flags are waited for, and moved, by the GPU
/// itself (stream memory operations) in memory that is pinned. One thread at a time.
class CudaStream final : public Stream {
 public:
  /// Of its own. Raises SystemError.
  explicit CudaStream(int device);
  /// Somebody else's (a cudaStream_t), who keeps it.
  explicit CudaStream(void* stream);
  /// Whether the GPU has stream memory operations: else neither `arrive` nor `wait` can be called. Tries it, once.
  static bool can_wait(int device) noexcept;
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  void copy(const Region& dst, const Region& src, Toward toward) override;
  void reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
              std::span<const double* const> factors) override;
  void arrive(Flag& flag, uint32_t step) override;
  /// Always true: what has not come is waited for by the GPU.
  bool wait(std::span<Flag* const> flags, uint32_t step) override;
  /// Between two places of the host, by a thread of CUDA's, where `copy` would block the caller. Both are to be kept.
  void copy_on_host(const Region& dst, const Region& src);

  /// Whether all that has been queued is done. Raises SystemError: also for what failed on the GPU.
  bool is_idle() const;

  /// A cudaStream_t.
  void* handle() const { return stream_; }

 private:
  void* stream_ = nullptr;
  const bool owned_;
};

/// Makes that GPU the calling thread's current one for as long as this lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = -1;
};

/// Where kernels of the current GPU see memory: what is pinned on the host may have another address there (WSL, Tegra).
void* address_on_gpu(void* data);
template <typename T>
T* seen_by_gpu(T* data) {
  return static_cast<T*>(address_on_gpu(const_cast<void*>(static_cast<const volatile void*>(data))));
}

/// Whether what is queued on one comes after what was queued on the other, both of the current GPU.
bool is_same_stream(void* one, void* other) noexcept;

/// Whether the stream (a cudaStream_t) is being captured into a graph. Raises SystemError.
bool is_captured(void* stream);

/// Whether that is a stream (a cudaStream_t) of that GPU: any number may be asked about.
bool is_stream_of(int device, uint64_t handle) noexcept;

/// Whether that lies in a GPU's memory.
bool is_on_gpu(const void* data);

/// Blocks until all that is queued on the stream is done. Raises SystemError.
void synchronize(void* stream);

}  // namespace pinnedpg
