// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <cuda.h>
#include <sys/mman.h>

#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "device/cuda_check.h"
#include "device/cuda_stream.h"
#include "device/device.h"
#include "device/host_copy.h"
#include "device/reduce_cuda.h"

namespace pinnedpg {

namespace {

struct Driver {
  CUresult (*wait_value)(CUstream, CUdeviceptr, cuuint32_t,
                         unsigned) = driver_call<decltype(wait_value)>("cuStreamWaitValue32");
  CUresult (*write_value)(CUstream, CUdeviceptr, cuuint32_t,
                          unsigned) = driver_call<decltype(write_value)>("cuStreamWriteValue32");
  CUresult (*error_name)(CUresult, const char**) = driver_call<decltype(error_name)>("cuGetErrorName");

  void check(CUresult result, const char* call) const {
    if (result == CUDA_SUCCESS) return;
    const char* name = "an unknown error";
    (void)error_name(result, &name);
    throw SystemError(concat("CUDA: a stream's memory operation failed (", call, ": ", name,
                             "). The error may stem from earlier, asynchronous work on the GPU"));
  }
};

const Driver& driver() {
  static const Driver driver;
  return driver;
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

/// Lets this thread ask a stream or event while another one captures a graph, which a question would else spoil.
class AnyCapture {
 public:
  AnyCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~AnyCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  AnyCapture(const AnyCapture&) = delete;
  AnyCapture& operator=(const AnyCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

Region row_of(const Region& region, size_t row) {
  return Region::flat(region.data + row * region.pitch, region.row_bytes);
}

/// What a query has found.
bool is_done(cudaError_t state, const char* call) {
  if (state == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check_cuda(state, call, "CUDA: work on the GPU failed");
  return true;
}

/// Where the GPU sees the step, in pinned memory.
CUdeviceptr step_of(Flag& flag) { return reinterpret_cast<CUdeviceptr>(seen_by_gpu(&flag.step)); }

}  // namespace

CudaEvent::CudaEvent(int device) : device_(device) {
  const CurrentDevice current(device);
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate", "CUDA: no event on GPU ",
             device);
  event_ = event;
}

CudaEvent::~CudaEvent() { (void)cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }

void CudaEvent::record(void* stream) {
  check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(event_), stream_of(stream)), "cudaEventRecord",
             "CUDA: cannot mark a stream's work");
  stream_ = stream;
}

void CudaEvent::hold(void* stream) const {
  int device = -1;  // the default streams of all GPUs have one handle
  const bool own = is_same_stream(stream, stream_) && cudaGetDevice(&device) == cudaSuccess;
  if (own && device == device_) return;  // what is queued on it later comes after by itself
  check_cuda(cudaStreamWaitEvent(stream_of(stream), static_cast<cudaEvent_t>(event_), 0), "cudaStreamWaitEvent",
             "CUDA: cannot order two streams");
}

bool CudaEvent::is_over() const {
  const AnyCapture allowed;
  return is_done(cudaEventQuery(static_cast<cudaEvent_t>(event_)), "cudaEventQuery");
}

void CudaEvent::synchronize() const {
  const AnyCapture allowed;
  check_cuda(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)), "cudaEventSynchronize",
             "CUDA: work on the GPU failed");
}

CudaStream::CudaStream(int device) : owned_(true) {
  const CurrentDevice current(device);
  check_cuda(load_reductions(device), "cudaFuncGetAttributes", "CUDA: cannot load kernels on GPU ", device);
  int least = 0, greatest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange",
             "CUDA: cannot use GPU ", device);
  cudaStream_t stream = nullptr;
  // Others wait for what is queued here, and it is little: it goes first.
  check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest), "cudaStreamCreateWithPriority",
             "CUDA: no stream on GPU ", device);
  stream_ = stream;
}

CudaStream::CudaStream(void* stream) : stream_(stream), owned_(false) {}

CudaStream::~CudaStream() {
  if (owned_) (void)cudaStreamDestroy(stream_of(stream_));
}

bool CudaStream::can_wait(int device) noexcept {
  static std::mutex mutex;
  static std::map<int, bool> known;
  std::lock_guard lock(mutex);
  if (const auto found = known.find(device); found != known.end()) return found->second;
  void* page = nullptr;
  try {
    const CurrentDevice current(device);
    check_cuda(cudaHostAlloc(&page, sizeof(Flag), cudaHostAllocMapped), "cudaHostAlloc", "CUDA: no pinned memory");
    Flag* const flag = new (page) Flag();
    CudaStream stream(device);
    stream.arrive(*flag, 1);
    driver().check(driver().wait_value(stream_of(stream.stream_), step_of(*flag), 1, CU_STREAM_WAIT_VALUE_GEQ),
                   "cuStreamWaitValue32");
    synchronize(stream.handle());
    known[device] = flag->has_reached(1);
  } catch (const std::exception&) {
    known[device] = false;
  }
  (void)cudaFreeHost(page);
  return known[device];
}

void CudaStream::copy(const Region& dst, const Region& src, Toward toward) {
  if (dst.bytes() == 0) return;
  const bool flat = dst.is_flat() && src.is_flat();
  if (!flat && src.pitch < src.row_bytes) {  // rows that overlap, as of an expanded tensor
    for (size_t row = 0; row < dst.rows; ++row) copy(row_of(dst, row), row_of(src, row), toward);
    return;
  }
  const cudaError_t error =
      flat ? cudaMemcpyAsync(dst.data, src.data, dst.bytes(), cudaMemcpyDefault, stream_of(stream_))
           : cudaMemcpy2DAsync(dst.data, dst.pitch, src.data, src.pitch, dst.row_bytes, dst.rows, cudaMemcpyDefault,
                               stream_of(stream_));
  check_cuda(error, flat ? "cudaMemcpyAsync" : "cudaMemcpy2DAsync", "CUDA: cannot copy ", dst.bytes(), " bytes");
}

void CudaStream::reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                        std::span<const double* const> factors) {
  check_cuda(reduce_cuda(dst, srcs, reduction, factors, stream_), "cudaLaunchKernel", "CUDA: cannot reduce ",
             dst.bytes(), " bytes of ", srcs.size(), " ranks");
}

void CudaStream::arrive(Flag& flag, uint32_t step) {
  // The default orders all work before it, so that who sees the step sees that too.
  driver().check(driver().write_value(stream_of(stream_), step_of(flag), step, CU_STREAM_WRITE_VALUE_DEFAULT),
                 "cuStreamWriteValue32");
  flag.issued.store(step, std::memory_order_release);
}

void CudaStream::copy_on_host(const Region& dst, const Region& src) {
  struct Copy {
    Region dst, src;
  };
  const auto carry_out = [](void* data) {
    const std::unique_ptr<Copy> copy(static_cast<Copy*>(data));
    copy_rows(copy->dst, copy->src);
  };
  auto copy = std::make_unique<Copy>(dst, src);
  check_cuda(cudaLaunchHostFunc(stream_of(stream_), carry_out, copy.get()), "cudaLaunchHostFunc", "CUDA: cannot copy ",
             dst.bytes(), " bytes");
  (void)copy.release();
}

bool CudaStream::wait(std::span<Flag* const> flags, uint32_t step) {
  for (Flag* flag : flags) {
    if (flag->has_reached(step)) continue;  // it never goes back
    driver().check(driver().wait_value(stream_of(stream_), step_of(*flag), step, CU_STREAM_WAIT_VALUE_GEQ),
                   "cuStreamWaitValue32");
  }
  return true;
}

bool CudaStream::is_idle() const {
  const AnyCapture allowed;
  return is_done(cudaStreamQuery(stream_of(stream_)), "cudaStreamQuery");
}

CurrentDevice::CurrentDevice(int device) {
  check_cuda(cudaGetDevice(&before_), "cudaGetDevice", "CUDA: cannot use GPU ", device);
  if (before_ == device) {
    before_ = -1;
    return;
  }
  check_cuda(cudaSetDevice(device), "cudaSetDevice", "CUDA: cannot use GPU ", device);
}

CurrentDevice::~CurrentDevice() {
  if (before_ >= 0) (void)cudaSetDevice(before_);
}

void* address_on_gpu(void* data) {
  static const bool alike = [] {
    int alike_there = 1;
    for (int device = 0; device < cuda_device_count() && alike_there != 0; ++device) {
      if (cudaDeviceGetAttribute(&alike_there, cudaDevAttrCanUseHostPointerForRegisteredMem, device) != cudaSuccess)
        break;
    }
    return alike_there != 0;
  }();
  if (alike) return data;
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, data), "cudaPointerGetAttributes", "CUDA: cannot ask about ", data);
  return attributes.devicePointer != nullptr ? attributes.devicePointer : data;
}

bool is_same_stream(void* one, void* other) noexcept { return one == other && one != cudaStreamPerThread; }

bool is_captured(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream_of(stream), &status), "cudaStreamIsCapturing", "CUDA: cannot ask a stream");
  return status != cudaStreamCaptureStatusNone;
}

bool is_stream_of(int device, uint64_t handle) noexcept {
  // What a number points at can be asked only where there is something: CUDA would crash.
  constexpr uint64_t kPage = 4096;
  unsigned char there = 0;
  void* const page = reinterpret_cast<void*>(handle / kPage * kPage);
  if (handle % alignof(void*) != 0 || ::mincore(page, 1, &there) != 0) return false;
  try {
    if (device >= cuda_device_count()) return false;
    const CurrentDevice current(device);
    const CudaEvent mark(device, reinterpret_cast<void*>(handle));  // which streams of its own GPU take alone
    return true;
  } catch (const SystemError&) {
    return false;
  }
}

bool is_on_gpu(const void* data) {
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, data), "cudaPointerGetAttributes", "CUDA: cannot ask about ", data);
  return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

void synchronize(void* stream) {
  check_cuda(cudaStreamSynchronize(stream_of(stream)), "cudaStreamSynchronize", "CUDA: work on the GPU failed");
}

}  // namespace pinnedpg
