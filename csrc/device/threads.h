// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace pinnedpg {

/// An object that a process has one of, made when first asked for and never destroyed: its threads may go on while
/// static destructors run. A forked child has none of its parent's threads, and gets an object of its own.
template <typename Object>
class PerProcess {
 public:
  Object& get() {
    Made* made = made_.load(std::memory_order_acquire);
    while (made == nullptr || made->pid != ::getpid()) {
      auto fresh = std::make_unique<Made>();
      if (made_.compare_exchange_strong(made, fresh.get())) return fresh.release()->object;
    }
    return made->object;
  }

  /// Null: nobody has asked for it yet.
  Object* existing() {
    Made* made = made_.load(std::memory_order_acquire);
    return made != nullptr && made->pid == ::getpid() ? &made->object : nullptr;
  }

 private:
  struct Made {
    const pid_t pid = ::getpid();
    Object object;
  };

  std::atomic<Made*> made_{nullptr};
};

/// Starts a thread that nobody joins. Raises SystemError where none can be had.
void start_thread(const char* name, std::function<void()> body);

/// One that lasts as long as the process, and lets go of others' objects. Raises likewise.
void start_lasting_thread(const char* name, std::function<void()> body);
/// What such threads call before all else.
void set_thread_start(void (*hook)());

/// Runs a function that may block, but does not raise, on a spare thread; those wait a while for the next one. Raises
/// as start_thread does.
void run_aside(std::function<void()> body);

/// Runs a function that may block on a spare thread. The future is ready once the function is over and let go of.
template <typename Body>
auto aside(Body body) {
  using Result = std::invoke_result_t<Body&>;
  auto task = std::make_shared<std::packaged_task<Result()>>([body = std::move(body)]() mutable {
    Body own(std::move(body));
    return own();
  });
  run_aside([task] { (*task)(); });
  return task->get_future();
}

template <typename Result>
bool is_ready(const std::future<Result>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

/// Lets what runs aside end within `grace`; what has not begun by now never does. For the end of a process.
void retire_spares(std::chrono::milliseconds grace);

}  // namespace pinnedpg
