// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors

// Processes that sleep on one bell, and one that rings it. Usage: bell_rings wake | stress | late | look

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "device/host_stream.h"
#include "expect.h"

namespace pinnedpg {

// Of the streams only `arrive` and `wait` are used here.
void reduce_host(void*, std::span<const void* const>, size_t, Reduction, std::span<const double>) { std::abort(); }

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kForever{20'000};  // of a sleep that nobody rings for: no busy machine takes that long
constexpr int kSleepers = 3;

/// What the processes share.
struct Page {
  Bell bell;
  Flag go, answers[kSleepers];
  std::atomic<int64_t> arrived_ns;
};

int64_t now_ns() { return steady_clock::now().time_since_epoch().count(); }

Page& make_page() {
  void* const page = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(page != MAP_FAILED, "mmap");
  return *static_cast<Page*>(page);
}

struct NoGuard final : Guard {
  void patrol(std::span<Flag* const>, uint32_t) override {}
};

/// A stream that goes to sleep at once.
struct Sleepy {
  NoGuard guard;
  HostStream stream;
  explicit Sleepy(Bell& bell) : stream(HostStream::Mode::kBlock, bell, guard, WaitPolicy{0, 0}) {}
};

/// Sleeps until the flag is there, with no patrol: a ring that is lost costs `kForever`.
void sleep_until(Bell& bell, const Flag& flag, uint32_t step) {
  while (!flag.has_reached(step)) {
    const int64_t begin = now_ns();
    bell.sleepers.fetch_add(1);
    const uint32_t seen = bell.rings.load();
    if (!flag.has_reached(step)) bell.sleep(seen, static_cast<int>(kForever.count()));
    bell.sleepers.fetch_sub(1);
    EXPECT(now_ns() - begin < kForever / std::chrono::nanoseconds(2), "a ring was lost, at step ", step);
  }
}

void spin_until(const Flag& flag, uint32_t step) {
  for (int round = 1; !flag.has_reached(step); ++round) {
    if (round % 1000 == 0) ::sched_yield();
  }
}

void await_sleepers(const Bell& bell, uint32_t count) {
  const int64_t begin = now_ns();
  while (bell.sleepers.load() != count) {
    EXPECT(now_ns() - begin < kForever / std::chrono::nanoseconds(1), "they do not announce themselves");
    ::sched_yield();
  }
}

/// Runs `other` in `count` forked processes while this one runs `body`.
void beside(int count, const std::function<void(int number)>& other, const std::function<void()>& body) {
  std::vector<pid_t> children;
  for (int number = 0; number < count; ++number) {
    children.push_back(::fork());
    if (children.back() > 0) continue;
    ::alarm(60);  // for when the parent has failed
    other(number);
    std::_Exit(0);
  }
  body();
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT(status == 0, "a child failed");
  }
}

/// One ring wakes all who sleep, in whatever process.
void run_wake() {
  Page& page = make_page();
  constexpr uint32_t kRounds = 30;
  const auto sleeper = [&](int number) {
    for (uint32_t step = 1; step <= kRounds; ++step) {
      sleep_until(page.bell, page.go, step);
      page.answers[number].step.store(step);  // with no ring, which would wake the other sleepers
    }
  };
  beside(kSleepers, sleeper, [&] {
    Sleepy own(page.bell);
    for (uint32_t step = 1; step <= kRounds; ++step) {
      await_sleepers(page.bell, kSleepers);
      std::this_thread::sleep_for(milliseconds(2));  // now they are in the kernel
      own.stream.arrive(page.go, step);
      for (const Flag& answer : page.answers) spin_until(answer, step);
    }
  });
}

/// Rings that come while the other is on its way to sleep, from its first look until the kernel has it.
void run_stress() {
  Page& page = make_page();
  constexpr uint32_t kRounds = 100'000;
  const auto ringer = [&](int) {
    Sleepy own(page.bell);
    std::mt19937 random(1);
    for (uint32_t step = 1; step <= kRounds; ++step) {
      spin_until(page.go, step);
      for (unsigned left = random() % 64; left > 0; --left) pause();
      own.stream.arrive(page.answers[0], step);
    }
  };
  beside(1, ringer, [&] {
    for (uint32_t step = 1; step <= kRounds; ++step) {
      page.go.step.store(step);
      sleep_until(page.bell, page.answers[0], step);
    }
  });
}

/// A stream that sleeps is woken when its flag comes, not at its next patrol 50 ms later.
void run_late() {
  Page& page = make_page();
  constexpr uint32_t kRounds = 21;
  const auto late = [&](int) {
    Sleepy own(page.bell);
    for (uint32_t step = 1; step <= kRounds; ++step) {
      await_sleepers(page.bell, 1);
      std::this_thread::sleep_for(milliseconds(step));
      page.arrived_ns.store(now_ns());
      own.stream.arrive(page.go, step);
      spin_until(page.answers[0], step);
    }
  };
  std::vector<int64_t> taken_ns;
  beside(1, late, [&] {
    Sleepy own(page.bell);
    Flag* const go = &page.go;
    for (uint32_t step = 1; step <= kRounds; ++step) {
      own.stream.wait({&go, 1}, step);
      taken_ns.push_back(now_ns() - page.arrived_ns.load());
      own.stream.arrive(page.answers[0], step);
    }
  });
  std::sort(taken_ns.begin(), taken_ns.end());
  const double median_ms = static_cast<double>(taken_ns[kRounds / 2]) * 1e-6;
  std::printf("woken after %.3f ms (median)\n", median_ms);
  EXPECT(median_ms < 15, "woken after ", median_ms, " ms: by the patrol?");
}

/// A flag that comes after the last look before the announcement, when nobody is there yet to be rung for.
void run_look() {
  struct Arriving final : Guard {
    Page& page;
    explicit Arriving(Page& page) : page(page) {}
    void patrol(std::span<Flag* const>, uint32_t step) override {
      page.go.step.store(step);
      page.bell.ring();
    }
  };
  Page& page = make_page();
  Arriving guard(page);
  HostStream stream(HostStream::Mode::kBlock, page.bell, guard, WaitPolicy{0, 0});
  Flag* const go = &page.go;
  int64_t least_ns = INT64_MAX;
  for (uint32_t step = 1; step <= 5; ++step) {
    const int64_t begin = now_ns();
    stream.wait({&go, 1}, step);
    least_ns = std::min(least_ns, now_ns() - begin);
  }
  EXPECT(least_ns < 40'000'000, "slept although the flag was there");
}

}  // namespace
}  // namespace pinnedpg

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  ::alarm(60);  // what hangs is killed
  if (what == "wake") return pinnedpg::run_wake(), 0;
  if (what == "stress") return pinnedpg::run_stress(), 0;
  if (what == "late") return pinnedpg::run_late(), 0;
  if (what == "look") return pinnedpg::run_look(), 0;
  std::fprintf(stderr, "usage: bell_rings wake | stress | late | look\n");
  return 2;
}
