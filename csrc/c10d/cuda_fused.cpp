// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_fused.h"

#include "base/limit.h"

namespace pinnedpg {

namespace {

/// Whoever watches a call on the host is to end it before its kernel does, and to say why.
constexpr std::chrono::seconds kHostFirst{5};

/// On the current GPU.
void set_wait(FusedRound& round, const Label& label, std::chrono::nanoseconds limit, bool patient) {
  round.fingerprint = label.fingerprint();
  round.limit_ns = static_cast<uint64_t>(limit.count());
  round.patient = patient;
  round.slots = seen_by_gpu(round.slots);
  round.halt = seen_by_gpu(round.halt);
}

}  // namespace

FusedCalls::FusedCalls(Communicator& communicator, int gpu)
    : communicator_(communicator),
      gpu_(gpu),
      queue_(gpu),
      flag_(communicator.memory(), &communicator.staging().member(communicator.first_rank()).fused) {}

std::shared_ptr<CudaMark> FusedCalls::queue(FusedRound& round, const Call& call, void* stream,
                                            const std::function<void()>& after) {
  const CurrentDevice current(gpu_);
  set_wait(round, call.label, bounded(call.timeout) + kHostFirst, true);
  if (last_) last_->hold(stream);
  round.over = seen_by_gpu(&flag_->step);
  round.number = ++number_;
  queue_.push(round, stream);
  last_ = std::make_shared<CudaEnd>(flag_, number_, stream);
  if (!after) return last_;
  after();
  CudaStream(stream).arrive(*flag_, ++number_);
  return last_ = std::make_shared<CudaEnd>(flag_, number_, stream);
}

void FusedCalls::capture(FusedRound& round, const Call& call, void* stream) {
  const CurrentDevice current(gpu_);
  set_wait(round, call.label, bounded(call.timeout), false);
  queue_.push(round, stream);
}

uint32_t FusedCalls::begun(int rank) const {
  const Staging& staging = communicator_.staging();
  const auto flag_of = [&](size_t slot) {  // of the line by which the ranks meet
    std::byte* const line = staging.fused_slots(rank) + slot * staging.fused_slot_bytes();
    return std::atomic_ref(reinterpret_cast<uint32_t*>(line)[1]).load();
  };
  return reached(flag_of(0), flag_of(1)) ? flag_of(0) : flag_of(1);
}

bool FusedCalls::is_late(int rank, uint64_t number) const {
  const Staging& staging = communicator_.staging();
  if (staging.member(rank).entered.load() < number) return true;
  for (int other = 0; other < staging.geometry().world_size; ++other) {
    if (!reached(begun(rank), begun(other))) return true;
  }
  return false;
}

}  // namespace pinnedpg
