// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "device/queue.h"
#include "tp/patience.h"

namespace pinnedpg::tp {

/// The stream of a host device (Python's `tp.HostStream`): work done in the order of its coming, by other threads than
/// the caller's. Known to callers by a handle, which is never 0 and never given twice. Any thread may call it.
class HostQueue : public std::enable_shared_from_this<HostQueue> {
 public:
  static std::shared_ptr<HostQueue> create(int device);
  /// Null: there is no such stream (any more).
  static std::shared_ptr<HostQueue> find(uint64_t handle);
  /// Beside a GPU's stream (a cudaStream_t): its tasks watch what is queued there. One for all contexts.
  static std::shared_ptr<HostQueue> beside(int device, uint64_t stream);
  static std::vector<std::shared_ptr<HostQueue>> all();
  ~HostQueue();

  int device() const { return device_; }
  uint64_t handle() const { return handle_; }

  /// Queues a task and returns its place in the order, from 1 on. What the task raises is kept, and belongs to `owner`.
  uint64_t push(std::shared_ptr<Task> task, const void* owner = nullptr);

  /// Queues a function, to be run on a thread of its own so that it may block.
  void submit(std::function<void()> body);

  /// Whether everything queued is done.
  bool query();
  uint64_t pushed();
  /// Waits for the task of that place; false: not in time.
  bool wait(uint64_t place, const Patience& patience);
  /// Waits for all that is queued now, then raises the first error kept, once. Raises GroupError when time is over.
  void synchronize(const Patience& patience);
  void raise_kept();
  /// Drops the error kept if it is this owner's: nobody is there any more who could want it.
  void forget(const void* owner);

  /// Held while a call is being queued on several streams, so that all of them get the calls in the same order; taken
  /// in the order of the handles.
  std::mutex& issuing() { return issuing_; }

 private:
  class Entry;

  HostQueue(int device, uint64_t handle) : device_(device), handle_(handle), queue_(std::make_shared<Queue>()) {}
  void finished(std::exception_ptr error, const void* owner);

  const int device_;
  const uint64_t handle_;
  uint64_t beside_ = 0;
  const std::shared_ptr<Queue> queue_;
  std::mutex issuing_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  std::exception_ptr kept_;
  const void* owner_ = nullptr;  ///< of the error kept
};

}  // namespace pinnedpg::tp
