// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>

namespace pinnedpg {

/// Something that a queue does, in as many goes as it needs.
class Task {
 public:
  virtual ~Task() = default;
  /// Goes on as far as possible without blocking. True: finished. Raises when it has failed.
  virtual bool advance() = 0;
  /// Whether somebody may wait for it: else the worker looks at it now and then.
  virtual bool is_urgent() const { return true; }
  /// Sleeps until what held the last `advance` may have come, at most about a millisecond. False: it cannot tell, and
  /// has not slept.
  virtual bool doze() { return false; }
  /// From another thread: ends a `doze` early.
  virtual void rouse() {}
  /// Told once, right after the last `advance`, with what that raised (or null). Does not raise.
  virtual void finish(std::exception_ptr error) = 0;
};

/// Tasks of the host, done one after the other in the order of their coming. A thread may do its own task at once
/// when the queue is idle (`try_begin`); all else is done by the worker, one thread that drives all queues of the
/// process and moves on where one is held.
class Queue : public std::enable_shared_from_this<Queue> {
 public:
  /// Takes the idle queue for a task of the calling thread's own; false when there is anything before it.
  bool try_begin() {
    uint32_t idle = 0;
    return load_.compare_exchange_strong(idle, 1, std::memory_order_acquire);
  }
  /// The calling thread's own task is done.
  void end();

  void push(std::shared_ptr<Task> task);

  /// For the worker: does what can be done of the first task without blocking.
  struct Drive {
    /// `kIdle`: that was the last one, and the worker is not to touch the queue until it is activated again.
    enum { kHeld, kMoved, kIdle } state;
    bool urgent;  ///< that task
  };
  Drive drive();
  /// Of the first task, which has been held: see Task.
  bool doze() { return first()->doze(); }
  void rouse() { first()->rouse(); }

 private:
  std::shared_ptr<Task> first();

  std::atomic<uint32_t> load_{0};  ///< tasks that wait or run, a thread's own included
  std::mutex mutex_;
  std::deque<std::shared_ptr<Task>> tasks_;
};

/// Lets the worker of this process finish what it can within `grace`, then stops it for good: what is queued still, or
/// later, is never done. For the end of a process whose tasks must not touch what is being taken down.
void retire_worker(std::chrono::milliseconds grace);

}  // namespace pinnedpg
