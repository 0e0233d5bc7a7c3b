// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/host_queue.h"

#include <map>
#include <utility>

#include "base/check.h"
#include "device/threads.h"

namespace pinnedpg::tp {

namespace {

/// Far from 0 and from other handles, so that an argument in the wrong place is found out.
constexpr uint64_t kFirstHandle = 0x7370'0000'0001;

struct Known {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<HostQueue>> by_handle;
  std::map<uint64_t, std::weak_ptr<HostQueue>> by_gpu_stream;
  uint64_t next = kFirstHandle;
};

Known& known() {
  static Known& instance = *new Known;  // never destroyed: streams may outlive the static destructors
  return instance;
}

/// A function of the caller's.
class Submitted final : public Task {
 public:
  explicit Submitted(std::function<void()> body) : body_(std::move(body)) {}

  bool advance() override {
    if (!run_.valid()) run_ = aside(std::exchange(body_, nullptr));
    if (!is_ready(run_)) return false;
    run_.get();
    return true;
  }
  void finish(std::exception_ptr) override {}

 private:
  std::function<void()> body_;
  std::future<void> run_;  ///< may block: the queue is held meanwhile, the worker is not
};

}  // namespace

/// A task in a stream: tells the stream when it is over, after it has let go of all that it holds.
class HostQueue::Entry final : public Task {
 public:
  Entry(std::shared_ptr<HostQueue> stream, std::shared_ptr<Task> task, const void* owner)
      : stream_(std::move(stream)), task_(std::move(task)), owner_(owner) {}

  bool advance() override { return task_->advance(); }

  void finish(std::exception_ptr error) override {
    task_->finish(error);
    task_.reset();
    stream_->finished(error, owner_);
  }

 private:
  const std::shared_ptr<HostQueue> stream_;
  std::shared_ptr<Task> task_;
  const void* const owner_;
};

std::shared_ptr<HostQueue> HostQueue::create(int device) {
  PINNEDPG_CHECK(device >= 0, "HostStream: device must be 0 or more; got ", device);
  std::lock_guard lock(known().mutex);
  std::shared_ptr<HostQueue> stream(new HostQueue(device, known().next++));
  known().by_handle[stream->handle_] = stream;
  return stream;
}

std::shared_ptr<HostQueue> HostQueue::beside(int device, uint64_t stream) {
  std::lock_guard lock(known().mutex);
  if (auto found = known().by_gpu_stream[stream].lock()) return found;
  std::shared_ptr<HostQueue> made(new HostQueue(device, known().next++));
  made->beside_ = stream;
  known().by_handle[made->handle_] = known().by_gpu_stream[stream] = made;
  return made;
}

std::shared_ptr<HostQueue> HostQueue::find(uint64_t handle) {
  std::shared_ptr<HostQueue> stream;  // outlives the lock
  std::lock_guard lock(known().mutex);
  const auto found = known().by_handle.find(handle);
  if (found != known().by_handle.end()) stream = found->second.lock();
  return stream != nullptr && stream->beside_ == 0 ? stream : nullptr;
}

std::vector<std::shared_ptr<HostQueue>> HostQueue::all() {
  std::vector<std::shared_ptr<HostQueue>> streams;
  std::lock_guard lock(known().mutex);
  for (const auto& [handle, weak] : known().by_handle) {
    if (auto stream = weak.lock()) streams.push_back(std::move(stream));
  }
  return streams;
}

HostQueue::~HostQueue() {
  std::lock_guard lock(known().mutex);
  known().by_handle.erase(handle_);
  const auto found = known().by_gpu_stream.find(beside_);
  if (found != known().by_gpu_stream.end() && found->second.expired()) known().by_gpu_stream.erase(found);
}

uint64_t HostQueue::push(std::shared_ptr<Task> task, const void* owner) {
  auto entry = std::make_shared<Entry>(shared_from_this(), std::move(task), owner);
  std::lock_guard lock(mutex_);
  queue_->push(std::move(entry));
  return ++pushed_;
}

void HostQueue::submit(std::function<void()> body) { push(std::make_shared<Submitted>(std::move(body))); }

bool HostQueue::query() {
  std::lock_guard lock(mutex_);
  return finished_ == pushed_;
}

uint64_t HostQueue::pushed() {
  std::lock_guard lock(mutex_);
  return pushed_;
}

bool HostQueue::wait(uint64_t place, const Patience& patience) {
  std::unique_lock lock(mutex_);
  return patience.wait(lock, changed_, [&] { return finished_ >= place; });
}

void HostQueue::synchronize(const Patience& patience) {
  if (!wait(pushed(), patience)) {
    throw GroupError(concat("HostStream.synchronize: the work of device ", device_,
                            " must be done within the time-out; ", "it is not after ", patience.seconds_waited(),
                            " s"));
  }
  raise_kept();
}

void HostQueue::raise_kept() {
  std::unique_lock lock(mutex_);
  const std::exception_ptr error = std::exchange(kept_, nullptr);
  lock.unlock();
  if (error != nullptr) std::rethrow_exception(error);
}

void HostQueue::forget(const void* owner) {
  std::exception_ptr dropped;  // outlives the lock: its destructor may take Python's
  std::lock_guard lock(mutex_);
  if (owner_ == owner) dropped = std::exchange(kept_, nullptr);
}

void HostQueue::finished(std::exception_ptr error, const void* owner) {
  std::lock_guard lock(mutex_);
  ++finished_;
  if (error != nullptr && kept_ == nullptr) {
    kept_ = std::move(error);
    owner_ = owner;
  }
  changed_.notify_all();
}

}  // namespace pinnedpg::tp
