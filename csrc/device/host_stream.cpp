// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/host_stream.h"

#include <sched.h>

#include <chrono>
#include <cstring>
#include <vector>

#include "base/interrupt.h"
#include "device/host_copy.h"

namespace pinnedpg {

namespace {

/// How many sources of a reduction stand on the thread's stack.
constexpr size_t kFewSources = 64;

bool all_reached(std::span<Flag* const> flags, uint32_t step) {
  for (const Flag* flag : flags) {
    if (!flag->has_reached(step)) return false;
  }
  return true;
}

/// Whether a rank that is waited for last ran on the core of this thread: it cannot arrive before this thread yields.
bool shares_core(std::span<Flag* const> flags, uint32_t step) {
  const int cpu = ::sched_getcpu();
  for (const Flag* flag : flags) {
    if (!flag->has_reached(step) && flag->cpu.load(std::memory_order_relaxed) == cpu) return true;
  }
  return false;
}

}  // namespace

void HostStream::copy(const Region& dst, const Region& src, Toward toward) {
  if (dst.bytes() == 0) return;
  if (dst.is_flat() && src.is_flat()) {
    if (toward == Toward::kStage) return stage_.copy(dst.data, src.data, dst.bytes());
    if (toward == Toward::kRankCold) return copy_past_caches(dst.data, src.data, dst.bytes());
  }
  copy_rows(dst, src);
}

void HostStream::reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                        std::span<const double* const> factors) {
  const size_t count = dst.bytes() / element_bytes(reduction.dtype);
  if (count == 0) return;
  const void* few[kFewSources];
  std::vector<const void*> many(srcs.size() > kFewSources ? srcs.size() : 0);
  const void** sources = many.empty() ? few : many.data();
  for (size_t i = 0; i < srcs.size(); ++i) sources[i] = srcs[i].data;
  double few_factors[kFewSources];
  std::vector<double> many_factors(factors.size() > kFewSources ? factors.size() : 0);
  double* const values = many_factors.empty() ? few_factors : many_factors.data();
  for (size_t i = 0; i < factors.size(); ++i) values[i] = *factors[i];
  reduce_host(dst.data, {sources, srcs.size()}, count, reduction, {values, factors.size()});
}

void HostStream::arrive(Flag& flag, uint32_t step) {
  flag.cpu.store(::sched_getcpu(), std::memory_order_relaxed);
  flag.step.store(step);  // releases all that this thread has written before to whoever sees the step
  bell_.ring();
}

bool HostStream::wait(std::span<Flag* const> flags, uint32_t step) {
  if (all_reached(flags, step)) return true;
  if (mode_ == Mode::kPoll) {
    guard_.patrol(flags, step);
    missing_ = flags;
    missing_step_ = step;
    return false;
  }
  block(flags, step);
  return true;
}

void HostStream::block(std::span<Flag* const> flags, uint32_t step) {
  const int spins = shares_core(flags, step) ? 0 : policy_.spins;
  for (int round = 0; round < spins; ++round) {
    pause();
    if (all_reached(flags, step)) return;
  }
  for (int round = 0; round < policy_.yields; ++round) {
    const bool yielded = yield_core();
    if (all_reached(flags, step)) return;
    if (!yielded) break;
  }
  auto looked = std::chrono::steady_clock::now();
  while (!all_reached(flags, step)) {
    guard_.patrol(flags, step);
    sleep(flags, step);
    const auto now = std::chrono::steady_clock::now();
    if (now - looked < std::chrono::milliseconds(kPatrolMilliseconds)) continue;
    looked = now;
    check_interrupts();
  }
}

void HostStream::sleep(std::span<Flag* const> flags, uint32_t step, int milliseconds) {
  bell_.sleepers.fetch_add(1);
  const uint32_t seen = bell_.rings.load();
  if (!all_reached(flags, step)) bell_.sleep(seen, milliseconds);
  bell_.sleepers.fetch_sub(1);
}

}  // namespace pinnedpg
