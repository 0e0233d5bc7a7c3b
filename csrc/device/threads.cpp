// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/threads.h"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace pinnedpg {

namespace {

/// How long a spare thread waits for something to run before it ends, and how many stay all the same. Guesses.
constexpr std::chrono::milliseconds kIdleFor{1000};
constexpr size_t kKept = 4;

/// Threads that wait for something to run. There may be as many as functions at one time, since any of these may wait
/// for another one; the last to have become idle is called first, so that those too many end.
class Spares {
 public:
  void run(std::function<void()> body) {
    std::lock_guard lock(mutex_);
    if (retired_) return never_.push_back(std::move(body));
    if (idle_.empty()) {  // raises, with nothing begun, where no thread can be had
      start_thread("pinnedpg-spare", [this, body = std::move(body)]() mutable { serve(std::move(body)); });
    } else {
      idle_.back()->body = std::move(body);
      idle_.back()->called.notify_one();
      idle_.pop_back();
    }
    ++busy_;
  }

  void retire(std::chrono::milliseconds grace) {
    std::unique_lock lock(mutex_);
    retired_ = true;
    over_.wait_for(lock, grace, [this] { return busy_ == 0; });
  }

 private:
  struct Spare {
    std::function<void()> body;
    std::condition_variable called;
  };

  void serve(std::function<void()> first) {
    Spare self{std::move(first), {}};
    std::unique_lock lock(mutex_, std::defer_lock);
    while (self.body) {
      self.body();
      self.body = nullptr;
      lock.lock();
      --busy_;
      over_.notify_all();
      await_call(self, lock);
      lock.unlock();
    }
  }

  /// Returns with a body to run; without one where the thread is to end.
  void await_call(Spare& self, std::unique_lock<std::mutex>& lock) {
    idle_.push_back(&self);
    while (!self.called.wait_for(lock, kIdleFor, [&] { return self.body != nullptr; })) {
      if (retired_ || idle_.size() <= kKept) continue;
      std::erase(idle_, &self);
      return;
    }
  }

  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<Spare*> idle_;
  std::vector<std::function<void()>> never_;  ///< what came too late; nothing that it holds is let go of
  size_t busy_ = 0;
  bool retired_ = false;
};

PerProcess<Spares> spares;

std::atomic<void (*)()> thread_start{nullptr};

}  // namespace

void start_thread(const char* name, std::function<void()> body) {
  try {
    std::thread thread(std::move(body));
    ::pthread_setname_np(thread.native_handle(), name);
    thread.detach();
  } catch (const std::system_error& error) {
    throw SystemError(concat("a thread must be had for it; got ", error.what(),
                             ". Raise the limit of threads (ulimit -u, a container's pids limit)"));
  }
}

void start_lasting_thread(const char* name, std::function<void()> body) {
  start_thread(name, [body = std::move(body)] {
    if (const auto hook = thread_start.load()) hook();
    body();
  });
}

void set_thread_start(void (*hook)()) { thread_start.store(hook); }

void run_aside(std::function<void()> body) { spares.get().run(std::move(body)); }

void retire_spares(std::chrono::milliseconds grace) {
  if (Spares* existing = spares.existing()) existing->retire(grace);
}

}  // namespace pinnedpg
