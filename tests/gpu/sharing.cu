// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What a small exchange costs between two ranks that share a GPU, by who waits: the GPU (stream memory operations) or
// the host, and by what moves the bytes: the copy engine or a kernel. As processes; with an argument, as threads.
#include <cuda.h>
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using MemOp = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

MemOp wait_value, write_value;
constexpr int kCount = 1024, kBytes = 4 * kCount, kRounds = 60;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED %s: %s\n", what, cudaGetErrorString(error));
  std::fflush(stdout);
  std::_Exit(1);
}
#define CHECK(call) check(call, #call)

MemOp entry(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  CHECK(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result));
  return reinterpret_cast<MemOp>(found);
}

/// 64 flags, then a slot of each rank.
struct Stage {
  char* base;
  std::atomic<uint32_t>& flag(int i) const { return *reinterpret_cast<std::atomic<uint32_t>*>(base + 64 * i); }
  CUdeviceptr address(int i) const { return reinterpret_cast<CUdeviceptr>(base + 64 * i); }
  float* slot(int rank) const { return reinterpret_cast<float*>(base + 65536 * (1 + rank)); }
};

__global__ void add(float* to, const float* one, const float* other) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < kCount) to[i] = one[i] + other[i];
}

__global__ void move(float* to, const float* from) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < kCount) to[i] = from[i];
}

struct Rank {
  Rank(int me, Stage stage) : me(me), stage(stage) {
    CHECK(cudaStreamCreateWithFlags(&put, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&get, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    CHECK(cudaMalloc(&tensor, kBytes));
    CHECK(cudaMemset(tensor, 0, kBytes));
    add<<<4, 256, 0, get>>>(tensor, tensor, tensor);
    move<<<4, 256, 0, put>>>(stage.slot(me), tensor);
    CHECK(cudaDeviceSynchronize());
  }

  void bytes_out(bool by_kernel) {
    if (by_kernel) {
      move<<<4, 256, 0, put>>>(stage.slot(me), tensor);
    } else {
      CHECK(cudaMemcpyAsync(stage.slot(me), tensor, kBytes, cudaMemcpyDefault, put));
    }
  }
  void bytes_in(bool by_kernel) {
    if (by_kernel) {
      add<<<4, 256, 0, get>>>(tensor, stage.slot(me), stage.slot(1 - me));
    } else {
      CHECK(cudaMemcpyAsync(tensor, stage.slot(1 - me), kBytes, cudaMemcpyDefault, get));
    }
  }

  /// Flags 0 and 1: what the ranks have put; 2 and 3: what they have got.
  void gpu_waits(bool out_by_kernel, bool in_by_kernel) {
    ++step;
    for (const int i : {2, 3}) wait_value(put, stage.address(i), step - 1, CU_STREAM_WAIT_VALUE_GEQ);
    bytes_out(out_by_kernel);
    write_value(put, stage.address(me), step, 0);
    for (const int i : {0, 1}) wait_value(get, stage.address(i), step, CU_STREAM_WAIT_VALUE_GEQ);
    bytes_in(in_by_kernel);
    write_value(get, stage.address(2 + me), step, 0);
  }

  void host_waits(bool out_by_kernel, bool in_by_kernel) {
    ++step;
    await(2, step - 1);
    bytes_out(out_by_kernel);
    finish(put);
    stage.flag(me).store(step);
    await(0, step);
    bytes_in(in_by_kernel);
    finish(get);
    stage.flag(2 + me).store(step);
  }

  void await(int first, uint32_t target) const {
    for (const int i : {first, first + 1}) {
      while (static_cast<int32_t>(stage.flag(i).load() - target) < 0) {
      }
    }
  }
  void finish(cudaStream_t stream) const {
    CHECK(cudaEventRecord(event, stream));
    while (cudaEventQuery(event) == cudaErrorNotReady) {
    }
  }

  void meet() {
    stage.flag(40 + me).store(++meetings);
    while (stage.flag(41 - me).load() < meetings) std::this_thread::yield();
  }

  const int me;
  const Stage stage;
  cudaStream_t put, get;
  cudaEvent_t event;
  float* tensor;
  uint32_t step = 0, meetings = 0;
};

void measure(Rank& rank, const char* launcher, bool by_host, bool out_by_kernel, bool in_by_kernel, int queued) {
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    rank.meet();
    const auto begin = Clock::now();
    for (int i = 0; i < queued; ++i) {
      by_host ? rank.host_waits(out_by_kernel, in_by_kernel) : rank.gpu_waits(out_by_kernel, in_by_kernel);
    }
    CHECK(cudaStreamSynchronize(rank.get));
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / queued);
  }
  std::sort(times.begin(), times.end());
  if (rank.me != 0) return;
  std::printf("%s, the %s waits, out by %s, in by %s, %d at once: median %.1f us, 90 %% within %.1f\n", launcher,
              by_host ? "host" : "GPU", out_by_kernel ? "kernel" : "copy", in_by_kernel ? "kernel" : "copy", queued,
              times[kRounds / 2], times[kRounds * 9 / 10]);
  std::fflush(stdout);
}

void run(int me, Stage stage, const char* launcher) {
  Rank rank(me, stage);
  for (const bool by_host : {false, true}) {
    for (const bool out : {false, true}) {
      for (const bool in : {false, true}) {
        for (const int queued : {1, 8}) measure(rank, launcher, by_host, out, in, queued);
      }
    }
  }
}

void pin(Stage stage) {
  wait_value = entry("cuStreamWaitValue32");
  write_value = entry("cuStreamWriteValue32");
  CHECK(cudaHostRegister(stage.base, 1 << 20, cudaHostRegisterPortable | cudaHostRegisterMapped));
}

}  // namespace

int main(int count, char**) {
  const int file = ::memfd_create("sharing", 0);
  if (::ftruncate(file, 1 << 20) != 0) return 1;
  void* const data = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const Stage stage{static_cast<char*>(data)};
  if (count > 1) {
    pin(stage);
    std::thread other([&] { run(1, stage, "threads"); });
    run(0, stage, "threads");
    other.join();
    return 0;
  }
  const pid_t child = ::fork();
  pin(stage);
  run(child == 0 ? 1 : 0, stage, "processes");
  int status = 0;
  if (child != 0) ::waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}
