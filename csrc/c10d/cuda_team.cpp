// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_team.h"

#include <algorithm>
#include <deque>
#include <thread>

#include "base/interrupt.h"
#include "c10d/torch_streams.h"
#include "device/host_wait_stream.h"
#include "device/pinned.h"
#include "device/threads.h"

namespace pinnedpg {

void CudaTeam::connect(const char* operation, std::chrono::milliseconds timeout, const std::vector<int>& gpus) {
  std::lock_guard lock(connecting_);
  if (pinned_) return;
  team_.connect(operation, timeout);
  by_host_ |= !std::all_of(gpus.begin(), gpus.end(), CudaStream::can_wait);
  const Staging& staging = team_.communicator().staging();
  watchdog_ = std::make_unique<Watchdog>(team_.watchdog());
  gots_.clear();
  for (int rank = 0; rank < staging.geometry().world_size; ++rank) gots_.push_back(&staging.got(rank));
  meet(operation, timeout);
  try {
    pinned_ = pin_shared(team_.segment(), team_.segment()->data(), team_.segment()->bytes());
  } catch (const SystemError&) {
    team_.fail(operation, std::current_exception());
  }
}

void CudaTeam::meet(const char* operation, std::chrono::milliseconds timeout) {
  const Staging& staging = team_.communicator().staging();
  for (int member = 0; member < team_.tensors(); ++member) {
    const int rank = team_.communicator().first_rank() + member;
    staging.member(rank).waits.store(by_host_ ? Waits::kHost : Waits::kGpu);
  }
  const auto is_there = [&](int rank) { return staging.member(rank).waits.load() != Waits::kUnknown; };
  watchdog_->begin(operation, timeout);
  for (int rank = 0; rank < staging.geometry().world_size; ++rank) {
    while (!is_there(rank)) {
      watchdog_->patrol({&gots_[static_cast<size_t>(rank)], 1}, 1);
      check_interrupts();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    by_host_ |= staging.member(rank).waits.load() == Waits::kHost;
  }
  team_.segment()->seal();  // all have mapped it
}

CudaTeam::~CudaTeam() {
  if (!pinned_) return;
  try {
    run_aside([pinned = std::move(pinned_)] {});
  } catch (const SystemError&) {
    // No thread can be had: it is let go of here.
  }
}

std::vector<int> CudaTeam::gpus() {
  std::lock_guard lock(queueing_);
  std::vector<int> gpus;
  for (const auto& [place, pair] : streams_) gpus.push_back(place.second);
  return gpus;
}

bool CudaTeam::is_idle() {
  std::lock_guard lock(queueing_);
  return std::all_of(streams_.begin(), streams_.end(), [](const auto& entry) {
    const CurrentDevice current(entry.first.second);
    return entry.second->put.is_idle() && entry.second->get.is_idle();
  });
}

std::vector<Flag*> CudaTeam::late(uint64_t number, uint32_t step) {
  const Communicator& communicator = team_.communicator();
  std::vector<Flag*> absent, others, own;
  for (int rank = 0; rank < static_cast<int>(gots_.size()); ++rank) {
    Flag* const flag = gots_[static_cast<size_t>(rank)];
    if (communicator.staging().member(rank).entered.load() < number) absent.push_back(flag);
    if (!flag->has_reached(step)) (communicator.is_local(rank) ? own : others).push_back(flag);
  }
  return !absent.empty() ? absent : !others.empty() ? others : own;
}

CudaTeam::Streams CudaTeam::current_streams(const char* name, const std::vector<int>& gpus) {
  Streams streams;
  for (const int gpu : gpus) {
    const CurrentDevice current(gpu);
    streams.emplace_back(gpu, current_stream(gpu));
    PINNEDPG_CHECK(!is_captured(streams.back().second), name,
                   ": a call cannot be captured in a CUDA graph; got a current stream that is being captured. Make the "
                   "call outside of the graph");
  }
  return streams;
}

CudaTeam::Pair& CudaTeam::streams_of(size_t member, int device) {
  auto& pair = streams_[{member, device}];
  if (!pair) pair = std::make_unique<Pair>(device);
  return *pair;
}

void CudaTeam::follow(const Streams& streams, const std::vector<int>& devices) {
  for (const auto& [device, stream] : streams) {
    const CurrentDevice current(device);
    CudaEvent begin(device);
    begin.record(stream);
    // A member may read and write tensors of any of the call's GPUs.
    for (size_t member = 0; member < devices.size(); ++member) {
      begin.hold(streams_of(member, devices[member]).put.handle());
      begin.hold(streams_of(member, devices[member]).get.handle());
    }
  }
}

CudaTeam::Streams CudaTeam::gather(const std::vector<int>& devices) {
  Streams last;
  for (size_t member = 0; member < devices.size(); ++member) {
    const bool known = std::any_of(last.begin(), last.end(), [&](auto& one) { return one.first == devices[member]; });
    if (!known) last.emplace_back(devices[member], streams_of(member, devices[member]).get.handle());
  }
  if (devices.size() == 1) return last;
  for (size_t member = 0; member < devices.size(); ++member) {
    const CurrentDevice current(devices[member]);
    CudaEvent end(devices[member]);
    end.record(streams_of(member, devices[member]).get.handle());
    for (const auto& [device, stream] : last) end.hold(stream);
  }
  return last;
}

void CudaTeam::carry_out(Call& call, const std::vector<int>& devices) {
  std::lock_guard lock(queueing_);
  std::deque<HostWaitStream> streams;
  std::vector<Lanes> lanes;
  for (size_t member = 0; member < devices.size(); ++member) {
    auto& stream = streams.emplace_back(team_.blocking(), streams_of(member, devices[member]).put);
    lanes.push_back({&stream, &stream});
  }
  const auto settle = [&] {
    for (size_t member = 0; member < devices.size(); ++member) {
      const CurrentDevice current(devices[member]);
      synchronize(streams_of(member, devices[member]).put.handle());
    }
  };
  call.at = {};  // the host's ranks may have told each other the sizes before
  try {
    team_.communicator().advance(call, lanes);
  } catch (...) {
    settle();  // nothing is written any more
    throw;
  }
  settle();
}

CudaTeam::Queued CudaTeam::queue(Call& call, const std::vector<int>& devices, const Streams& streams,
                                 const std::function<void(const Streams&)>& after) {
  std::lock_guard lock(queueing_);
  std::vector<Lanes> lanes;
  for (size_t member = 0; member < devices.size(); ++member) {
    Pair& pair = streams_of(member, devices[member]);
    lanes.push_back({&pair.put, &pair.get});
  }
  follow(streams, devices);
  Queued queued;
  queued.step = team_.communicator().queue(call, lanes);
  queued.number = call.label.number;
  const Streams last = gather(devices);
  after(last);
  for (const auto& [device, stream] : last) {
    const CurrentDevice current(device);
    queued.done.emplace_back(device, std::make_shared<CudaEvent>(device));
    queued.done.back().second->record(stream);
  }
  return queued;
}

}  // namespace pinnedpg
