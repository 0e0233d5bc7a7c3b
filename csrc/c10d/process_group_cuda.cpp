// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The calls of ProcessGroupPinned with tensors on GPUs: queued by their callers, carried out by the GPUs.
#include <c10/util/ScopeExit.h>

#include <algorithm>
#include <thread>

#include "c10d/cuda_call.h"
#include "c10d/cuda_work.h"
#include "c10d/process_group.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

namespace {

/// The GPU that a member's leg runs on: that of the first of its regions that is on one.
int gpu_of(const Call::Leg& leg, const Tensors& tensors, int otherwise) {
  for (const Exchange& exchange : leg) {
    int gpu = exchange.reduction ? tensors.gpu_of(exchange.reduced) : -1;
    for (const auto& put : exchange.puts) gpu = gpu < 0 ? tensors.gpu_of(put.from) : gpu;
    for (const auto& get : exchange.gets) gpu = gpu < 0 ? tensors.gpu_of(get.to) : gpu;
    if (gpu >= 0) return gpu;
  }
  return otherwise;
}

/// Whether the call is to be captured in a graph. Raises ValueError where it cannot be, as far as is known yet.
bool are_captured(const CudaTeam::Streams& streams, const char* name, CudaTeam& team, bool uneven) {
  const bool captured = std::any_of(streams.begin(), streams.end(), [](const auto& one) {
    const CurrentDevice current(one.first);
    return is_captured(one.second);
  });
  PINNEDPG_CHECK(!captured || team.is_connected(), name, ": a call that is captured in a CUDA graph must not be the ",
                 "first of its group with as many CUDA tensors. Make one outside of the graph, before it");
  PINNEDPG_CHECK(!captured || !uneven, name,
                 ": a call cannot be captured in a CUDA graph where each pair of ranks has ",
                 "a size of its own. Make it outside of the graph");
  return captured;
}

std::vector<int> gpus_of(const Call& call, const Tensors& tensors, int otherwise) {
  std::vector<int> gpus;
  for (const Call::Leg& leg : call.legs) gpus.push_back(gpu_of(leg, tensors, otherwise));
  return gpus;
}

/// What is to be done, if anything is, with those streams as the current ones.
CudaTeam::Beside beside(bool any, std::function<void()> copy) {
  if (!any) return {};
  return [copy = std::move(copy)](const CudaTeam::Streams& streams) {
    std::vector<std::unique_ptr<CurrentStream>> current;
    for (const auto& [gpu, stream] : streams) current.push_back(std::make_unique<CurrentStream>(gpu, stream));
    copy();
  };
}

CudaMarks::value_type mark_of(int gpu, void* stream) {
  const CurrentDevice current(gpu);
  return {gpu, std::make_shared<CudaEvent>(gpu, stream)};
}

[[noreturn]] void refuse_capture(const Call& call, CudaTeam& team) {
  const size_t one_shot = team.team().communicator().staging().geometry().one_shot_bytes;
  throw ValueError(concat(call.label.name(), ": a call can be captured in a CUDA graph where each rank has a GPU of ",
                          "its own and moves at most ", team.fused_bytes(),
                          " bytes (Options.fused_bytes; 0: never in this group), an all_reduce at most ",
                          std::min(one_shot, team.fused_bytes()), " (Options.one_shot_bytes); got ",
                          call.label.to_string(), ". Make it outside of the graph"));
}

}  // namespace

std::shared_ptr<CudaTeam> ProcessGroupPinned::cuda_team(int tensors) {
  check_own();
  std::lock_guard lock(mutex_);
  if (!closed_.empty()) throw GroupError(closed_);
  uses_gpus_ = true;
  auto& team = tensors == 1 ? cuda_first_ : cuda_lists_;
  if (!team || team->team().tensors() != tensors) {
    team =
        std::make_shared<CudaTeam>(rendezvous_, tensors, tensors == 1 ? 0 : ++cuda_lists_made_, options_->host_waits);
  }
  return team;
}

void ProcessGroupPinned::tell_sizes(Request& request, Call& call, PlanRef plan) {
  using std::chrono::microseconds;
  while (!queue_->try_begin()) std::this_thread::sleep_for(microseconds(20));
  const auto done = c10::make_scope_exit([this] { queue_->end(); });
  const auto everyone = team(1);
  everyone->connect(request.label.name(), request.timeout);
  call.legs.push_back(plan(everyone->communicator().staging().geometry(), 0, request.memory));
  everyone->advance(call, HostStream::Mode::kBlock);
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::run_on_gpus(Request& request, PlanRef plan,
                                                            const Operation::Next& next) {
  const char* const name = request.label.name();
  const auto team = cuda_team(request.label.tensors);
  const int members = team->team().tensors();
  PINNEDPG_CHECK(static_cast<size_t>(getSize()) * static_cast<size_t>(members) <= kCudaSources, name,
                 ": a group with CUDA tensors must have at most ", kCudaSources, " tensors over all ranks; got ",
                 getSize() * members);
  const std::vector<int> gpus = request.tensors.gpus();
  const CudaTeam::Streams streams = CudaTeam::current_streams(gpus);
  const bool captured = are_captured(streams, name, *team, next != nullptr);
  if (!captured) team->connect(name, request.timeout, gpus);
  Call call(request.memory);
  call.label = request.label;
  call.timeout = request.timeout;
  CudaTeam::Queued queued;
  try {
    plan_legs(request, call, *team, plan, next);
    if (auto round = next ? std::nullopt : team->fuse(call, gpus)) {
      // Else what follows on the stream would wait for the peers; and copies come after those of calls not waited for.
      const bool aside = (request.async || request.tensors.reads()) && !captured;
      return run_fused(request, team, call, *round, aside ? team->side_of(streams) : streams[0].second, captured);
    }
    if (captured) refuse_capture(call, *team);
    const std::vector<int> devices = gpus_of(call, request.tensors, gpus[0]);
    if (team->by_host()) {
      request.tensors.read();
      for (const auto& [gpu, stream] : streams) synchronize(stream);
      team->carry_out(call, devices);
      request.tensors.write_back();
      return done_by_host(request, streams);
    }
    const auto read = beside(request.tensors.reads(), [&] { request.tensors.read(); });
    const auto write = beside(request.tensors.writes_back(), [&] { request.tensors.write_back(); });
    queued = team->queue(call, devices, streams, read, write);
  } catch (...) {
    give_up(request, team, std::current_exception());
  }
  return watch(request, team, std::move(queued));
}

void ProcessGroupPinned::give_up(Request& request, const std::shared_ptr<CudaTeam>& team, std::exception_ptr error) {
  try {
    team->team().fail(request.label.name(), error);
  } catch (const ValueError&) {  // nothing of it is queued
    throw;
  } catch (...) {
    // The group is aborted. A part of the call may be queued, and uses the tensors until it has been let go.
    CudaTeam::Queued part;
    part.step = team->team().communicator().got_step();
    team->watched().push(
        std::make_shared<CudaCall>(team, request.label, request.timeout, std::move(part), request.tensors, nullptr));
    throw;
  }
}

void ProcessGroupPinned::plan_legs(Request& request, Call& call, CudaTeam& team, PlanRef plan,
                                   const Operation::Next& next) {
  if (next) {  // what is told lies on the host
    tell_sizes(request, call, plan);
    next(call.legs);
    return;
  }
  for (int member = 0; member < team.team().tensors(); ++member) {
    call.legs.push_back(plan(team.team().communicator().staging().geometry(), member, request.memory));
  }
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::run_fused(Request& request, const std::shared_ptr<CudaTeam>& team,
                                                          Call& call, FusedRound& round, void* stream, bool captured) {
  if (request.tensors.reads()) {
    const int gpu = request.tensors.gpus()[0];
    const CurrentStream current(gpu, stream);
    request.tensors.read();
  }
  std::function<void()> write;
  if (request.tensors.writes_back()) {
    write = [&] {
      const int gpu = request.tensors.gpus()[0];
      const CurrentDevice device(gpu);
      const CurrentStream current(gpu, stream);
      request.tensors.write_back();
    };
  }
  if (!captured) return watch(request, team, team->queue_fused(call, round, stream, write));
  team->capture_fused(call, round, stream);
  if (write) write();
  return done_by_host(request, {});
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::watch(Request& request, const std::shared_ptr<CudaTeam>& team,
                                                      CudaTeam::Queued queued) {
  const CudaMarks done = queued.done;
  c10::intrusive_ptr<WorkCuda> work;
  if (request.async) {
    work = work_of<WorkCuda>(request);
    const Communicator& communicator = team->team().communicator();
    work->set_done(done, {communicator.memory(), &communicator.staging().control()});
  }
  team->watched().push(
      std::make_shared<CudaCall>(team, request.label, request.timeout, std::move(queued), request.tensors, work));
  if (request.async) return note(work);
  WorkCuda::hold_streams(done);
  return nullptr;
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::done_by_host(Request& request, const CudaTeam::Streams& streams) {
  if (!request.async) return nullptr;
  CudaMarks done;  // of what was written back
  for (const auto& [gpu, stream] : streams) done.push_back(mark_of(gpu, stream));
  const auto work = work_of<WorkCuda>(request);
  work->set_done(std::move(done), nullptr);
  work->complete(nullptr);
  return note(work);
}

void ProcessGroupPinned::synchronize_gpus() {
  std::shared_ptr<CudaTeam> first, lists;
  {
    std::lock_guard lock(mutex_);
    first = cuda_first_;
    lists = cuda_lists_;
  }
  for (const auto& team : {first, lists}) {
    for (const int gpu : team ? team->gpus() : std::vector<int>()) {
      const CurrentDevice current(gpu);
      synchronize(current_stream(gpu));
    }
  }
}

}  // namespace pinnedpg
