// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/queue.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <optional>
#include <thread>
#include <vector>

#include "device/threads.h"
#include "device/wait_policy.h"

namespace pinnedpg {

namespace {

/// The one thread that drives all queues of the process. It starts with the first task that no caller does itself.
class Worker {
 public:
  void retire(std::chrono::milliseconds grace) {
    std::unique_lock lock(mutex_);
    if (!started_) return;
    retirement_ = std::chrono::steady_clock::now() + grace;
    awake_.notify_one();
    // A task may hold the worker for longer (a callback that never returns): the process ends all the same.
    retired_cv_.wait_until(lock, *retirement_ + grace, [this] { return retired_; });
  }

  void activate(std::shared_ptr<Queue> queue, bool urgent) {
    {
      std::lock_guard lock(mutex_);
      incoming_.push_back(std::move(queue));
      if (!urgent && rests_) return;  // the worker looks soon
      if (dozing_ != nullptr) dozing_->rouse();
    }
    awake_.notify_one();
  }

  /// Raises where no thread can be had.
  void start() {
    std::lock_guard lock(mutex_);
    if (started_) return;
    start_lasting_thread("pinnedpg", [this] { run(); });
    started_ = true;
  }

 private:
  [[noreturn]] void run() {
    auto& active = *new std::vector<std::shared_ptr<Queue>>;  // what it holds when it retires is never let go
    int held_rounds = 0;
    while (collect(active, held_rounds)) {
      bool moved = false, urgent = false;
      if (!active.empty()) {
        std::erase_if(active, [&](const auto& queue) {
          const Queue::Drive result = queue->drive();
          moved |= result.state != Queue::Drive::kHeld;
          urgent |= result.urgent;
          return result.state == Queue::Drive::kIdle;
        });
        at_leisure_ = !urgent;
      }
      held_rounds = moved ? 0 : held_rounds + 1;
    }
    std::unique_lock lock(mutex_);
    retired_ = true;
    retired_cv_.notify_all();
    for (;;) awake_.wait(lock);
  }

  /// Takes in what has come, after a pause that grows while all queues are held: spin, yield, rest. Where nothing is
  /// urgent it rests at once, and goes on resting for a while: who brings the next task need not wake it.
  /// False: the worker is to retire.
  bool collect(std::vector<std::shared_ptr<Queue>>& active, int held_rounds) {
    constexpr int kSpins = 50, kYields = 100, kLingers = 20;
    const bool held = !active.empty() && held_rounds > 0, spins = held && !at_leisure_;
    if (spins && held_rounds <= kSpins) pause();
    const bool yields = spins && held_rounds > kSpins && held_rounds <= kSpins + kYields;
    const bool rests = held && (at_leisure_ || held_rounds > kSpins + kYields || (yields && !yield_core()));
    std::unique_lock lock(mutex_);
    const auto has_work = [&] { return !incoming_.empty() || retirement_; };
    const int nap = at_leisure_ ? std::clamp(100 + held_rounds * 10, 200, 1000)
                                : std::clamp(50 + held_rounds - kSpins - kYields, 50, 1000);
    if (rests) {
      rest(lock, active, std::chrono::microseconds(nap), has_work);
    } else if (active.empty() && at_leisure_ && held_rounds <= kLingers) {
      rest(lock, active, std::chrono::milliseconds(1), has_work);
    } else if (active.empty()) {
      awake_.wait(lock, has_work);
    }
    for (auto& queue : incoming_) active.push_back(std::move(queue));
    incoming_.clear();
    return !retirement_ || (!active.empty() && std::chrono::steady_clock::now() < *retirement_);
  }

  /// A pause that the only queue's peers end, or for want of that a nap.
  template <typename HasWork>
  void rest(std::unique_lock<std::mutex>& lock, const std::vector<std::shared_ptr<Queue>>& active,
            std::chrono::microseconds nap, HasWork has_work) {
    if (has_work()) return;
    bool dozed = false;
    rests_ = true;
    if (active.size() == 1) {
      dozing_ = active[0].get();
      lock.unlock();
      dozed = active[0]->doze();
      lock.lock();
      dozing_ = nullptr;
    }
    if (!dozed) awake_.wait_for(lock, nap, has_work);
    rests_ = false;
  }

  std::mutex mutex_;
  Queue* dozing_ = nullptr;  ///< what the worker waits for
  bool rests_ = false;       ///< it looks again by itself in a millisecond or less
  bool at_leisure_ = false;  ///< of the worker: nothing that it had last was urgent
  std::condition_variable awake_, retired_cv_;
  std::optional<std::chrono::steady_clock::time_point> retirement_;  ///< when it has to stop, once it has been told to
  bool started_ = false;
  bool retired_ = false;
  std::vector<std::shared_ptr<Queue>> incoming_;
};

PerProcess<Worker> workers;

}  // namespace

void retire_worker(std::chrono::milliseconds grace) {
  if (Worker* worker = workers.existing()) worker->retire(grace);
}

void Queue::end() {
  // Tasks that came meanwhile found the queue busy and left the waking of the worker to this thread.
  if (load_.fetch_sub(1, std::memory_order_acq_rel) > 1) workers.get().activate(shared_from_this(), true);
}

void Queue::push(std::shared_ptr<Task> task) {
  Worker& worker = workers.get();
  worker.start();  // before anything is queued
  const bool urgent = task->is_urgent();
  uint32_t before;
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    before = load_.fetch_add(1, std::memory_order_acq_rel);
  }
  if (before == 0) worker.activate(shared_from_this(), urgent);
}

std::shared_ptr<Task> Queue::first() {
  std::lock_guard lock(mutex_);
  return tasks_.front();
}

Queue::Drive Queue::drive() {
  const std::shared_ptr<Task> task = first();
  const bool urgent = task->is_urgent();
  std::exception_ptr error;
  try {
    if (!task->advance()) return {Drive::kHeld, urgent};
  } catch (...) {
    error = std::current_exception();
  }
  uint32_t before;
  {
    std::lock_guard lock(mutex_);
    tasks_.pop_front();
    before = load_.fetch_sub(1, std::memory_order_acq_rel);
  }
  // After the queue is idle: who waits for this task may find the queue free for its next one.
  task->finish(error);
  return {before == 1 ? Drive::kIdle : Drive::kMoved, urgent};
}

}  // namespace pinnedpg
