// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// A GPU without a GPU: device/cuda_stream.h over queues of the host, which do what is queued on threads of their own,
// late by random times. What is queued there runs in its order and in no other.
//
// FAKE_CUDA_QUEUES: streams of the process share so many queues, as under CUDA_DEVICE_MAX_CONNECTIONS; 0: each its own.
// FAKE_CUDA_NO_WAITS: it has no stream memory operations, and whoever uses them dies.
// FAKE_CUDA_PIN_MOST: no more bytes than that can be pinned at a time.
// FAKE_CUDA_SHARED: all ranks have the same GPU.
// FAKE_CUDA_FAILED: read whenever it matters. While it is set the GPU does nothing of what it is given, and says so.
// FAKE_CUDA_CALLERS: each thread that makes calls has so many streams, of which another one is current each time; 0: it
// works on the host's.
// FAKE_CUDA_BREAK: leaves out a kind of order, to see that it is needed. end: who waits for a call does not wait;
// begin: a call does not wait for the stream of its caller; flags: nothing waits for a flag, nor a fused call for the
// one before it; readers: nothing waits for a flag that says that somebody has read; lane: what is to be queued on a
// caller's stream goes beside it; ring: fused calls have one slot; chunks: a chunk's flag comes first, too; looks: all
// is over for who looks at an event.
#include "fake_cuda.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.h"
#include "device/cuda_stream.h"
#include "device/device.h"
#include "device/host_copy.h"

namespace pinnedpg {

namespace {

using std::chrono::microseconds;

/// Does what is queued, one after the other, on a thread that ends with the last user.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  static std::shared_ptr<Engine> start() {
    auto engine = std::make_shared<Engine>();
    std::thread([state = engine->state_] { state->run(); }).detach();
    return engine;
  }
  ~Engine() { push({}); }

  void push(std::function<void()> work) {
    {
      std::lock_guard lock(state_->mutex);
      state_->works.push_back(std::move(work));
    }
    state_->changed.notify_one();
  }

 private:
  struct State {
    void run() {
      std::minstd_rand random(std::random_device{}());
      for (;;) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return !works.empty(); });
        const auto work = std::move(works.front());
        works.pop_front();
        lock.unlock();
        if (!work) return;
        if (random() % 16 == 0) std::this_thread::sleep_for(microseconds(random() % 200));
        work();
      }
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> works;
  };

  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// The engine of a new stream.
std::shared_ptr<Engine> engine(int device) {
  static const char* const given = std::getenv("FAKE_CUDA_QUEUES");
  static const size_t count = given != nullptr ? std::strtoul(given, nullptr, 10) : 0;
  if (count == 0) return Engine::start();
  struct Shared {
    std::vector<std::shared_ptr<Engine>> engines;
    size_t next = 0;
  };
  static auto* const by_device = new std::map<int, Shared>;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  Shared& shared = (*by_device)[device];
  if (shared.engines.size() < count) shared.engines.push_back(Engine::start());
  return shared.engines[shared.next++ % count];
}

/// What a stream's handle points at. The null handle is the host itself, whose work is done when it is queued.
struct Queued {
  explicit Queued(int device);
  ~Queued();
  const int device;
  const std::shared_ptr<Engine> engine;
  const std::shared_ptr<std::atomic<int>> pending = std::make_shared<std::atomic<int>>(0);
};

/// Streams of a caller's, and those of them that are current, by device; what is pinned or not.
struct World {
  std::mutex mutex;
  std::set<Queued*> streams;
  std::map<int, void*> current;
  std::set<Queued*> all;
  std::map<char*, size_t> pinned;
  std::set<const void*> pageable;
};

World& world() {
  static World& instance = *new World;
  return instance;
}

Queued::Queued(int device) : device(device), engine(pinnedpg::engine(device)) {
  std::lock_guard lock(world().mutex);
  world().all.insert(this);
}

Queued::~Queued() {
  std::lock_guard lock(world().mutex);
  world().all.erase(this);
}

/// Waits for what is queued on any stream now.
void finish_all() {
  std::vector<std::shared_ptr<Engine>> engines;
  {
    std::lock_guard lock(world().mutex);
    for (const Queued* stream : world().all) {  // a test's streams stay: hundreds of them are idle
      if (*stream->pending != 0) engines.push_back(stream->engine);
    }
  }
  for (const auto& engine : engines) {
    const auto done = std::make_shared<std::atomic<bool>>(false);
    engine->push([done] { done->store(true); });
    await([&] { return done->load(); });
  }
}

bool is_current(void* stream) {
  std::lock_guard lock(world().mutex);
  if (stream == nullptr) return true;
  for (const auto& [device, current] : world().current) {
    if (current == stream) return true;
  }
  return false;
}

/// Who loads a kernel has the lock of the GPU's context, and waits for all that is queued. No lock here: it would order
/// what the sanitizer is to find without one.
std::atomic<bool> loads{false};

bool has_failed() { return std::getenv("FAKE_CUDA_FAILED") != nullptr; }

void check_failed() {
  if (has_failed()) throw SystemError("CUDA: the fake GPU has failed");
}

void enter_context() {
  await([] { return !loads.load(std::memory_order_relaxed); });
}

std::atomic<size_t> pins_most{SIZE_MAX};  // as of the last pin: others may set the environment meanwhile

}  // namespace

void check_pinned(const Region& region) {
  if (pins_most == SIZE_MAX) return;
  std::lock_guard lock(world().mutex);
  auto* const begin = reinterpret_cast<char*>(region.data);
  auto* const end = begin + (region.rows - 1) * region.pitch + region.row_bytes;
  const auto after = world().pinned.upper_bound(begin);
  if (after != world().pinned.begin()) {
    const auto& [pinned, bytes] = *std::prev(after);
    if (end <= pinned + bytes) return;
  }
  throw SystemError("the stage is not pinned there");
}

bool leaves_out(std::string_view what) {
  static const char* const broken = std::getenv("FAKE_CUDA_BREAK");
  return broken != nullptr && broken == what;
}

void await(const std::function<bool()>& there) {
  for (int looks = 0; !there(); ++looks) {
    if (looks < 50) std::this_thread::yield();
    if (looks >= 50) std::this_thread::sleep_for(microseconds(50));
  }
}

void load_kernel() {
  loads.store(true, std::memory_order_relaxed);
  finish_all();
  loads.store(false, std::memory_order_relaxed);
}

void* new_stream(int device) {
  auto* const stream = new Queued(device);  // for ever, like torch's
  std::lock_guard lock(world().mutex);
  world().streams.insert(stream);
  return stream;
}

void* fake_current_stream(int device) {
  std::lock_guard lock(world().mutex);
  const auto found = world().current.find(device);
  return found == world().current.end() ? nullptr : found->second;
}

void set_fake_current_stream(int device, void* stream) {
  std::lock_guard lock(world().mutex);
  world().current[device] = stream;
}

size_t fake_pinned_bytes() {
  std::lock_guard lock(world().mutex);
  size_t bytes = 0;
  for (const auto& [data, size] : world().pinned) bytes += size;
  return bytes;
}

void set_pageable(void* data) {
  std::lock_guard lock(world().mutex);
  world().pageable.insert(data);
}

bool is_idle(void* stream) { return *static_cast<Queued*>(stream)->pending == 0; }

void push(void* stream, std::function<void()> work) {
  if (has_failed()) return;
  if (stream == nullptr) return work();
  const Queued& queued = *static_cast<Queued*>(stream);
  ++*queued.pending;
  queued.engine->push([work = std::move(work), pending = queued.pending] {
    work();
    --*pending;
  });
}

namespace {

using Mark = std::shared_ptr<std::atomic<bool>>;

/// Where the kernels of this thread's calls run that are on the host's stream.
thread_local std::unique_ptr<Queued> host_kernels;

void push_mark(void* stream, const Mark& mark) {
  const auto reach = [mark] { mark->store(true); };
  return stream == nullptr && host_kernels ? push(host_kernels.get(), reach) : push(stream, reach);
}

}  // namespace

void push_kernel(void* stream, std::function<void()> work) {
  enter_context();
  if (stream != nullptr) return push(stream, std::move(work));
  if (!host_kernels) host_kernels = std::make_unique<Queued>(0);
  push(host_kernels.get(), std::move(work));
}

CudaEvent::CudaEvent(int device) : device_(device), event_(new Mark(std::make_shared<std::atomic<bool>>(true))) {
  enter_context();
}

CudaEvent::~CudaEvent() {
  enter_context();
  delete static_cast<Mark*>(event_);
}

void CudaEvent::record(void* stream) {
  enter_context();
  auto mark = std::make_shared<std::atomic<bool>>(false);
  *static_cast<Mark*>(event_) = mark;
  push_mark(stream, mark);
}

void CudaEvent::hold(void* stream) const {
  enter_context();
  if (leaves_out(is_current(stream) ? "end" : "begin")) return;
  push(stream, [mark = *static_cast<const Mark*>(event_)] { await([&] { return mark->load(); }); });
}

bool CudaEvent::is_over() const {
  enter_context();
  check_failed();
  return leaves_out("looks") || (*static_cast<const Mark*>(event_))->load();
}

void CudaEvent::synchronize() const {
  const auto mark = *static_cast<const Mark*>(event_);
  enter_context();
  await([&] { return has_failed() || mark->load(); });
  check_failed();
}

CudaStream::CudaStream(int device) : stream_(new Queued(device)), owned_(true) { enter_context(); }

CudaStream::CudaStream(void* stream)
    : stream_(leaves_out("lane") && stream != nullptr ? new_stream(static_cast<Queued*>(stream)->device) : stream),
      owned_(false) {}

bool CudaStream::can_wait(int) noexcept { return std::getenv("FAKE_CUDA_NO_WAITS") == nullptr; }

CudaStream::~CudaStream() {
  enter_context();
  if (owned_) delete static_cast<Queued*>(stream_);
}

namespace {

/// Flags that streams have moved after they have read: for FAKE_CUDA_BREAK=readers.
struct Readers {
  std::mutex mutex;
  std::set<void*> reading;  ///< streams whose last copy was one off the stage
  std::set<Flag*> flags;
};

Readers& readers() {
  static Readers& instance = *new Readers;
  return instance;
}

}  // namespace

void CudaStream::copy(const Region& dst, const Region& src, Toward toward) {
  enter_context();
  if (toward == Toward::kStage && dst.bytes() > 0) check_pinned(dst);
  if (leaves_out("readers") && toward != Toward::kStage) {
    std::lock_guard lock(readers().mutex);
    readers().reading.insert(stream_);
  }
  push(stream_, [dst, src] { copy_rows(dst, src); });
}

void CudaStream::copy_on_host(const Region& dst, const Region& src) { copy(dst, src, Toward::kStage); }

void CudaStream::reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                        std::span<const double* const> factors) {
  enter_context();
  std::vector<const void*> sources;
  for (const Region& src : srcs) sources.push_back(src.data);
  push(stream_, [dst, sources, reduction, where = std::vector<const double*>(factors.begin(), factors.end())] {
    std::vector<double> values;
    for (const double* factor : where) values.push_back(*factor);
    reduce_host(dst.data, sources, dst.bytes() / element_bytes(reduction.dtype), reduction, values);
  });
}

void CudaStream::arrive(Flag& flag, uint32_t step) {
  if (!can_wait(0)) std::abort();
  enter_context();
  if (leaves_out("readers")) {
    std::lock_guard lock(readers().mutex);
    if (readers().reading.erase(stream_) != 0) readers().flags.insert(&flag);
  }
  push(stream_, [&flag, step] { flag.step.store(step); });
  flag.issued.store(step, std::memory_order_release);
}

bool CudaStream::wait(std::span<Flag* const> flags, uint32_t step) {
  if (!can_wait(0)) std::abort();
  enter_context();
  for (Flag* flag : flags) {
    if (flag->has_reached(step) || leaves_out(is_current(stream_) ? "end" : "flags")) continue;
    if (leaves_out("readers")) {
      std::lock_guard lock(readers().mutex);
      if (readers().flags.count(flag) != 0) continue;
    }
    push(stream_, [flag, step] { await([&] { return flag->has_reached(step); }); });
  }
  return true;
}

bool CudaStream::is_idle() const {
  enter_context();
  check_failed();
  return pinnedpg::is_idle(stream_);
}

CurrentDevice::CurrentDevice(int) {}
CurrentDevice::~CurrentDevice() = default;

void* address_on_gpu(void* data) { return data; }

// The host's stream has kernels beside it.
bool is_same_stream(void* one, void* other) noexcept { return one == other && one != nullptr; }

bool is_stream_of(int device, uint64_t handle) noexcept {
  std::lock_guard lock(world().mutex);
  auto* const stream = reinterpret_cast<Queued*>(handle);
  return world().streams.count(stream) != 0 && stream->device == device;
}

bool is_on_gpu(const void*) { return true; }

void synchronize(void* stream) {
  const auto mark = std::make_shared<std::atomic<bool>>(false);
  push_mark(stream, mark);
  await([&] { return mark->load(); });
}

bool built_with_cuda() { return true; }
int cuda_device_count() noexcept { return 0; }
std::array<uint8_t, 16> gpu_id(int) {
  static std::atomic<uint32_t> number{0};  // one for each rank that asks
  const uint32_t words[4] = {1, static_cast<uint32_t>(::getpid()), ++number};
  std::array<uint8_t, 16> id{1};
  if (std::getenv("FAKE_CUDA_SHARED") == nullptr) std::memcpy(id.data(), words, sizeof words);
  return id;
}
bool ends_long_kernels(int) { return std::getenv("FAKE_CUDA_DISPLAY") != nullptr; }
void pin(void* data, size_t bytes) {
  const char* const most = std::getenv("FAKE_CUDA_PIN_MOST");
  pins_most = most != nullptr ? std::strtoul(most, nullptr, 10) : SIZE_MAX;
  if (bytes > pins_most) throw SystemError(concat("pin: cannot pin ", bytes, " bytes"));
  std::lock_guard lock(world().mutex);
  auto* const begin = static_cast<char*>(data);
  const auto after = world().pinned.lower_bound(begin + bytes);
  if (after != world().pinned.begin() && std::prev(after)->first + std::prev(after)->second > begin) {
    throw SystemError(concat("pin: cannot pin ", bytes, " bytes: some are pinned already"));
  }
  world().pinned[begin] = bytes;
}

bool is_pinned(const void* data) {
  std::lock_guard lock(world().mutex);
  return world().pageable.count(data) == 0;
}

/// As cudaHostUnregister does (tests/gpu/questions.cu).
void unpin(void* data) {
  finish_all();
  std::lock_guard lock(world().mutex);
  if (world().pinned.erase(static_cast<char*>(data)) == 0) throw SystemError("unpin: it is not pinned");
}

}  // namespace pinnedpg
