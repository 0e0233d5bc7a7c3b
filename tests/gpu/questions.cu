// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What the design has to know of a GPU: asked of the machine at hand. Prints a line per answer.
#include <cuda.h>
#include <cuda_runtime.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED %s: %s\n", what, cudaGetErrorString(error));
  std::fflush(stdout);
  std::_Exit(1);
}
#define CHECK(call) check(call, #call)

using MemOp = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned);
using BatchOp = CUresult (*)(CUstream, unsigned, CUstreamBatchMemOpParams*, unsigned);
MemOp wait_value, write_value;
BatchOp batch_op;

template <typename F>
F entry(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  CHECK(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result));
  if (found == nullptr) std::printf("no entry point %s\n", name);
  return reinterpret_cast<F>(found);
}

void load() {
  wait_value = entry<MemOp>("cuStreamWaitValue32");
  write_value = entry<MemOp>("cuStreamWriteValue32");
  batch_op = entry<BatchOp>("cuStreamBatchMemOp");
}

constexpr size_t kBytes = 64 << 20;

struct Stage {
  char* host;
  CUdeviceptr device;
  std::atomic<uint32_t>* flag(int i) const { return reinterpret_cast<std::atomic<uint32_t>*>(host + 64 * i); }
  CUdeviceptr at(int i) const { return device + 64 * static_cast<size_t>(i); }
};

int make_memory() {
  const int fd = ::memfd_create("questions", 0);
  if (::fallocate(fd, 0, 0, kBytes) != 0) std::printf("fallocate failed\n");
  return fd;
}

Stage pin(int fd) {
  Stage stage;
  stage.host = static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  const auto begin = Clock::now();
  CHECK(cudaHostRegister(stage.host, kBytes, cudaHostRegisterPortable | cudaHostRegisterMapped));
  std::printf("pinning 64 MiB of memfd: %.0f us\n", us_since(begin));
  void* device = nullptr;
  CHECK(cudaHostGetDevicePointer(&device, stage.host, 0));
  std::printf("device address equals host address: %d\n", device == stage.host);
  stage.device = reinterpret_cast<CUdeviceptr>(device);
  return stage;
}

__global__ void empty() {}
__global__ void spin(long long ticks) {
  const long long begin = clock64();
  while (clock64() - begin < ticks) {
  }
}
__global__ void read_host(const uint4* from, uint4* to, size_t count) {
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    uint4 a = from[i], b = from[i + step], c = from[i + 2 * step], d = from[i + 3 * step];
    to[i] = a, to[i + step] = b, to[i + 2 * step] = c, to[i + 3 * step] = d;
  }
  for (; i < count; i += step) to[i] = from[i];
}

double time_us(cudaStream_t stream, int times, const std::function<void()>& body) {
  body();
  CHECK(cudaStreamSynchronize(stream));
  const auto begin = Clock::now();
  for (int i = 0; i < times; ++i) body();
  const double queued = us_since(begin) / times;
  CHECK(cudaStreamSynchronize(stream));
  std::printf("(host %.2f us) ", queued);
  return us_since(begin) / times;
}

void costs(const Stage& stage) {
  cudaStream_t stream, other;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  cudaEvent_t event;
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  char* memory;
  CHECK(cudaMalloc(&memory, kBytes));
  uint32_t step = 0;
  const auto say = [](const char* what, double us) { std::printf("%s: %.2f us each\n", what, us); };
  say("write_value", time_us(stream, 500, [&] { write_value(stream, stage.at(0), ++step, 0); }));
  say("wait_value (already there)",
      time_us(stream, 500, [&] { wait_value(stream, stage.at(0), 1, CU_STREAM_WAIT_VALUE_GEQ); }));
  say("kernel", time_us(stream, 500, [&] { empty<<<1, 32, 0, stream>>>(); }));
  say("event record + wait", time_us(stream, 500, [&] {
        cudaEventRecord(event, stream);
        cudaStreamWaitEvent(other, event, 0);
      }));
  CHECK(cudaStreamSynchronize(other));
  CUstreamBatchMemOpParams ops[8] = {};
  for (int i = 0; i < 8; ++i) {
    ops[i].waitValue = {CU_STREAM_MEM_OP_WAIT_VALUE_32, stage.at(0), {1}, CU_STREAM_WAIT_VALUE_GEQ, 0};
  }
  say("batch of 8 waits", time_us(stream, 200, [&] { batch_op(stream, 8, ops, 0); }));
  for (size_t bytes : {8ul, 4096ul, 65536ul, 262144ul, 1048576ul, 4194304ul, 33554432ul}) {
    for (bool up : {true, false}) {
      char* host = stage.host + 4096;
      const double us = time_us(stream, 50, [&] {
        cudaMemcpyAsync(up ? host : memory, up ? memory : host, bytes - (bytes > 33554431 ? 4096 : 0),
                        up ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, stream);
      });
      std::printf("%s copy of %zu: %.2f us, %.2f GB/s\n", up ? "D2H" : "H2D", bytes, us, bytes / us / 1e3);
    }
  }
  const double both = time_us(stream, 20, [&] {
    cudaMemcpyAsync(stage.host + 4096, memory, 16 << 20, cudaMemcpyDeviceToHost, stream);
    cudaMemcpyAsync(memory + (32 << 20), stage.host + (32 << 20), 16 << 20, cudaMemcpyHostToDevice, other);
  });
  CHECK(cudaStreamSynchronize(other));
  std::printf("16 MiB both ways at once: %.2f us, %.2f GB/s each\n", both, (16 << 20) / both / 1e3);
  for (int blocks : {1, 2, 4, 8, 16, 32, 64, 132}) {
    const double us = time_us(stream, 10, [&] {
      read_host<<<blocks, 512, 0, stream>>>(reinterpret_cast<const uint4*>(stage.device + 4096),
                                            reinterpret_cast<uint4*>(memory), 1 << 20);
    });
    std::printf("kernel of %d blocks reads 16 MiB: %.2f us, %.2f GB/s\n", blocks, us, (16 << 20) / us / 1e3);
  }
  CHECK(cudaFree(memory));
}

/// While a stream waits for a flag that a helper thread releases after 300 ms, how long does the call take?
void while_waiting(const Stage& stage, const char* what, const std::function<void()>& call) {
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stage.flag(5)->store(0);
  wait_value(stream, stage.at(5), 1, CU_STREAM_WAIT_VALUE_GEQ);
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    stage.flag(5)->store(1);
  });
  const auto begin = Clock::now();
  call();
  std::printf("while a stream waits, %s takes %.0f us\n", what, us_since(begin));
  releaser.join();
  CHECK(cudaStreamSynchronize(stream));
  CHECK(cudaStreamDestroy(stream));
}

void blocking(const Stage& stage) {
  void *one = nullptr, *two = nullptr, *host = nullptr;
  CHECK(cudaMalloc(&two, 1 << 20));
  while_waiting(stage, "nothing", [] {});
  while_waiting(stage, "cudaMalloc 1 MiB", [&] { CHECK(cudaMalloc(&one, 1 << 20)); });
  while_waiting(stage, "cudaMalloc 1 GiB", [&] { CHECK(cudaMalloc(&host, 1 << 30)); });
  while_waiting(stage, "cudaFree", [&] { CHECK(cudaFree(two)); });
  CHECK(cudaFree(host));
  while_waiting(stage, "cudaHostAlloc", [&] { CHECK(cudaHostAlloc(&host, 1 << 20, 0)); });
  while_waiting(stage, "cudaFreeHost", [&] { CHECK(cudaFreeHost(host)); });
  char* plain =
      static_cast<char*>(::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  while_waiting(stage, "cudaHostRegister", [&] { CHECK(cudaHostRegister(plain, 1 << 20, 0)); });
  while_waiting(stage, "cudaHostUnregister", [&] { CHECK(cudaHostUnregister(plain)); });
  while_waiting(stage, "a kernel on another stream", [&] {
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    empty<<<1, 32, 0, stream>>>();
    CHECK(cudaStreamSynchronize(stream));
  });
  while_waiting(stage, "a D2H copy on another stream", [&] {
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaMemcpyAsync(stage.host + 8192, one, 4096, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
  });
  while_waiting(stage, "a kernel on the legacy default stream", [&] {
    empty<<<1, 32>>>();
    CHECK(cudaStreamSynchronize(nullptr));
  });
}

/// How soon does a stream go on once the host has stored the flag?
void release_latency(const Stage& stage) {
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  double best = 1e9, sum = 0;
  for (uint32_t i = 1; i <= 50; ++i) {
    wait_value(stream, stage.at(6), i, CU_STREAM_WAIT_VALUE_GEQ);
    write_value(stream, stage.at(7), i, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto begin = Clock::now();
    stage.flag(6)->store(i);
    while (stage.flag(7)->load() != i) {
    }
    const double us = us_since(begin);
    best = us < best ? us : best;
    sum += us;
  }
  std::printf("host stores a flag, stream sees it and answers: best %.2f us, mean %.2f us\n", best, sum / 50);
  // An abort pushes the flag half the cycle ahead.
  wait_value(stream, stage.at(6), 51, CU_STREAM_WAIT_VALUE_GEQ);
  stage.flag(6)->store(51u + 0x7fffffffu);
  CHECK(cudaStreamSynchronize(stream));
  std::printf("abort: a flag half the cycle ahead frees the stream: yes\n");
}

/// One thread drives two ranks of one device: each stream releases and waits for the other, `rounds` times.
void one_thread(const Stage& stage) {
  constexpr uint32_t kRounds = 300;
  cudaStream_t streams[4];
  for (auto& stream : streams) CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const auto begin = Clock::now();
  for (uint32_t i = 1; i <= kRounds; ++i) {
    for (int rank = 0; rank < 4; ++rank) write_value(streams[rank], stage.at(10 + rank), i, 0);
    for (int rank = 0; rank < 4; ++rank) {
      for (int peer = 0; peer < 4; ++peer) wait_value(streams[rank], stage.at(10 + peer), i, CU_STREAM_WAIT_VALUE_GEQ);
      spin<<<1, 32, 0, streams[rank]>>>(1000);
    }
  }
  for (auto& stream : streams) CHECK(cudaStreamSynchronize(stream));
  std::printf("one thread, 4 ranks on one device, %u rounds: %.2f us a round\n", kRounds, us_since(begin) / kRounds);
}

/// Two processes on one device pass a flag to and back.
void ping_pong(int fd, int side) {
  const Stage stage = pin(fd);
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stage.flag(20 + side)->store(1);
  while (stage.flag(20)->load() + stage.flag(21)->load() != 2) {
  }
  constexpr uint32_t kRounds = 200;
  const auto begin = Clock::now();
  for (uint32_t i = 1; i <= kRounds; ++i) {
    if (side == 1) wait_value(stream, stage.at(22), i, CU_STREAM_WAIT_VALUE_GEQ);
    write_value(stream, stage.at(22 + side), i, 0);
    if (side == 0) wait_value(stream, stage.at(23), i, CU_STREAM_WAIT_VALUE_GEQ);
  }
  CHECK(cudaStreamSynchronize(stream));
  std::printf("two processes, one device, flags to and back: %.2f us a round trip\n", us_since(begin) / kRounds);
  std::fflush(stdout);
}

}  // namespace

int main() {
  const int fd = make_memory();
  for (int side = 0; side < 2; ++side) {
    if (::fork() == 0) {
      ::alarm(60);
      load();
      ping_pong(fd, side);
      return 0;
    }
  }
  for (int side = 0; side < 2; ++side) {
    int status;
    ::wait(&status);
    if (status != 0) {
      std::printf("a process ended with %d\n", status);
      return 1;
    }
  }
  ::alarm(120);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  load();
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrCanUseHostPointerForRegisteredMem, 0));
  std::printf("can use host pointer for registered memory: %d\n", value);
  const Stage stage = pin(make_memory());
  costs(stage);
  release_latency(stage);
  one_thread(stage);
  blocking(stage);
  return 0;
}
