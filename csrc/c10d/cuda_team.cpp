// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_team.h"

#include <algorithm>
#include <deque>

#include "device/host_wait_stream.h"
#include "device/threads.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

CudaTeam::~CudaTeam() {
  if (!pinned_) return;
  try {
    const auto kept = [](auto& one) { return std::make_shared<std::decay_t<decltype(one)>>(std::move(one)); };
    run_aside([pinned = std::move(pinned_), fused = kept(fused_), streams = kept(streams_), probes = kept(probes_),
               asked = kept(asked_)] {});
  } catch (const SystemError&) {
    // No thread can be had: it is let go of here.
  }
}

std::vector<int> CudaTeam::gpus() {
  std::lock_guard lock(queueing_);
  std::vector<int> gpus;
  for (const auto& [place, pair] : streams_) gpus.push_back(place.second);
  if (fused_) gpus.push_back(fused_->gpu());
  return gpus;
}

bool CudaTeam::is_idle() {
  std::lock_guard lock(queueing_);
  if (fused_ && !fused_->is_idle()) {
    if (!asked_) asked_ = std::make_unique<CudaProbe>(fused_->gpu());
    asked_->ask();
    return false;
  }
  return std::all_of(streams_.begin(), streams_.end(), [](const auto& entry) {
    const CurrentDevice current(entry.first.second);
    return entry.second->put.is_idle() && entry.second->get.is_idle();
  });
}

void CudaTeam::check_gpu(int gpu) { probes_.try_emplace(gpu, gpu).first->second.look(); }

void CudaTeam::patrol(const Queued& queued) {
  if (!queued.fused) return watchdog_->patrol(late(queued), queued.step);
  watchdog_->look_for([&](int rank) { return fused_->is_late(rank, queued.number); });
}

std::vector<Flag*> CudaTeam::late(const Queued& queued) {
  const Communicator& communicator = team_.communicator();
  std::vector<Flag*> absent, others, own;
  for (int rank = 0; rank < static_cast<int>(gots_.size()); ++rank) {
    Flag* const flag = gots_[static_cast<size_t>(rank)];
    if (communicator.staging().member(rank).entered.load() < queued.number) absent.push_back(flag);
    if (!flag->has_reached(queued.step)) (communicator.is_local(rank) ? own : others).push_back(flag);
  }
  return !absent.empty() ? absent : !others.empty() ? others : own;
}

CudaTeam::Streams CudaTeam::current_streams(const std::vector<int>& gpus) {
  Streams streams;
  for (const int gpu : gpus) {
    const CurrentDevice current(gpu);
    streams.emplace_back(gpu, current_stream(gpu));
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
    const CudaEvent begin(device, stream);
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
    const CudaEvent end(devices[member], streams_of(member, devices[member]).get.handle());
    for (const auto& [device, stream] : last) end.hold(stream);
  }
  return last;
}

bool CudaTeam::is_connected() {
  std::lock_guard lock(connecting_);
  return connected_;
}

size_t CudaTeam::fused_bytes() const { return fused_ ? fused_->bytes() : 0; }

std::optional<FusedRound> CudaTeam::fuse(const Call& call, const std::vector<int>& gpus) const {
  if (!fused_) return std::nullopt;
  auto round = fused_->round_of(call);
  const auto other = std::find_if(gpus.begin(), gpus.end(), [&](int gpu) { return gpu != fused_->gpu(); });
  PINNEDPG_CHECK(!round || other == gpus.end(), call.label.name(), ": a call of at most ", fused_bytes(),
                 " bytes must be on the GPU of the group's first call, cuda:", fused_->gpu(),
                 "; got a tensor on cuda:", *other,
                 ". Make a group for each GPU, or give this one Options(fused_bytes=0)");
  return round;
}

void* CudaTeam::side_of(const Streams& streams) {
  std::lock_guard lock(queueing_);
  follow(streams, {fused_->gpu()});
  return streams_of(0, fused_->gpu()).get.handle();
}

CudaTeam::Queued CudaTeam::queue_fused(Call& call, FusedRound& round, void* stream,
                                       const std::function<void()>& after) {
  std::lock_guard lock(queueing_);
  Queued queued;
  queued.fused = true;
  queued.step = team_.communicator().announce(call);
  queued.number = call.label.number;
  queued.done.emplace_back(fused_->gpu(), fused_->queue(round, call, stream, after));
  return queued;
}

void CudaTeam::capture_fused(const Call& call, FusedRound& round, void* stream) {
  std::lock_guard lock(queueing_);
  fused_->capture(round, call, stream);
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
                                 const Beside& before, const Beside& after) {
  std::lock_guard lock(queueing_);
  std::vector<Lanes> lanes;
  for (size_t member = 0; member < devices.size(); ++member) {
    Pair& pair = streams_of(member, devices[member]);
    lanes.push_back({&pair.put, &pair.get});
  }
  follow(streams, devices);
  if (before) {
    const Streams gets = gather(devices);
    before(gets);
    follow(gets, devices);
  }
  Queued queued;
  queued.step = team_.communicator().queue(call, lanes);
  queued.number = call.label.number;
  const Streams last = gather(devices);
  if (after) after(last);
  for (const auto& [device, stream] : last) {
    const auto member = std::find(devices.begin(), devices.end(), device) - devices.begin();
    queued.done.emplace_back(device, mark_end(static_cast<size_t>(member), device));
  }
  return queued;
}

std::shared_ptr<CudaMark> CudaTeam::mark_end(size_t member, int device) {
  const CurrentDevice current(device);
  End& end = ends_[member];
  CudaStream& stream = streams_of(member, device).get;
  if (end.mark && end.device != device) end.mark->hold(stream.handle());  // its ends come in their order
  const Communicator& communicator = team_.communicator();
  Flag& flag = communicator.staging().member(communicator.first_rank() + static_cast<int>(member)).queued;
  stream.arrive(flag, ++end.number);
  end.device = device;
  return end.mark = std::make_shared<CudaEnd>(std::shared_ptr<Flag>(communicator.memory(), &flag), end.number,
                                              stream.handle());
}

}  // namespace pinnedpg
