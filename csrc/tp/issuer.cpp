// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/issuer.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "torch_glue/torch_streams.h"
#include "tp/split.h"

namespace pinnedpg::tp {

namespace {

/// What a device stages for tp_all_reduce in one step; all other calls are staged in the buffers.
constexpr size_t kSlotBytes = 256 << 10;

std::vector<int> devices_of(const Issuer::Queues& queues) {
  std::vector<int> devices;
  for (const auto& [device, queue] : queues) devices.push_back(device);
  return devices;
}

}  // namespace

Issuer::Issuer(Devices devices, std::vector<at::Tensor> buffers, std::chrono::milliseconds timeout)
    : queues_(std::move(devices.queues)),
      lanes_(std::move(devices.lanes)),
      devices_(devices_of(queues_)),
      timeout_(timeout) {
  for (const int device : devices_) places_[device].resize(buffers.size() + 1);
  common_->buffers = std::move(buffers);
}

void Issuer::make_team(const std::vector<int>& devices) {
  std::unique_ptr<Team>& team = common_->teams[devices];
  // tp_all_reduce alone uses slots, and it is a call of all devices.
  const size_t slot_bytes = devices == devices_ ? kSlotBytes : 64;
  if (team == nullptr) team = std::make_unique<Team>(devices, slot_bytes, common_->buffers.size(), lanes_);
}

Issuer::Locks Issuer::lock_queues(const std::vector<int>& devices) const {
  std::vector<HostQueue*> queues;
  for (const int device : devices) queues.push_back(queues_.at(device).get());
  std::sort(queues.begin(), queues.end(), [](auto* a, auto* b) { return a->handle() < b->handle(); });
  Locks locks;
  for (HostQueue* queue : queues) locks.emplace_back(queue->issuing());
  return locks;
}

void Issuer::issue(Plan plan) {
  const std::vector<int> devices = plan.t_device < 0 ? plan.team->devices() : std::vector<int>{plan.t_device};
  const Locks locks = lock_queues(devices);
  std::vector<Part> parts;
  std::shared_ptr<c10::ThreadPool> pool;
  {
    std::lock_guard lock(mutex_);
    PINNEDPG_CHECK(!closed_, plan.function, ": tp_context must be alive; got one that is being freed");
    common_->failure.check(plan.function);
    if (plan.t_device < 0) check_open(plan);
    const auto kept = std::make_shared<std::vector<at::Tensor>>(std::move(plan.tensors));
    for (const int device : devices) parts.push_back(prepare(plan, device, kept));
    record(plan, parts);
    pool = pool_;
  }
  if (pool == nullptr || parts.size() == 1) return push_all(plan, parts);
  push_by_threads(*pool, plan, parts);
}

void Issuer::check_open(const Plan& plan) const {
  for (const auto& [devices, team] : common_->teams) {
    if (!team->ledger.is_open()) continue;
    // The missing leg would come behind this call in its device's queue, and this call behind the others' legs in
    // theirs.
    throw ValueError(concat(plan.function, ": every leg of ", team->ledger.oldest().to_string(), " on devices ",
                            Listed{devices}, " must be issued before a call for all devices; got none for device ",
                            devices[team->ledger.missing()]));
  }
}

Issuer::Part Issuer::prepare(const Plan& plan, int device, const Kept& kept) const {
  Team& team = *plan.team;
  const auto rank = static_cast<size_t>(team.rank_of(device));
  Part part{device, {}, {}, {}};
  for (size_t i = 0; i < plan.motions.size(); ++i) {
    const Signature signature = team.ledger.resolve(rank, plan.motions[i].signature);
    team.ledger.check(plan.function, team.devices(), rank, i, signature);
    Call call;
    call.label = signature.label();
    call.timeout = timeout_;
    call.legs = {{plan.motions[i].leg(static_cast<int>(rank))}};
    if (i == 0) call.legs[0][0].after = earlier_uses(plan, device);
    part.signatures.push_back(signature);
    part.steps.push_back(call.legs[0][0].rounds(team.geometry()));
    part.legs.push_back(leg(plan, device, i, std::move(call), kept));
  }
  return part;
}

std::shared_ptr<Leg> Issuer::leg(const Plan& plan, int device, size_t motion, Call call, const Kept& kept) const {
  Team& team = *plan.team;
  const int rank = team.rank_of(device);
  if (!on_gpus()) return std::make_shared<HostLeg>(common_, team, rank, std::move(call), kept);
  const auto& lane = lanes_.at(device);
  void* const current = current_stream(device);
  PINNEDPG_CHECK(!is_captured(current) && !is_captured(lane->handle()), plan.function,
                 ": a call cannot be captured in a CUDA graph; got a stream that is being captured. Make the call "
                 "outside of the graph");
  GpuLeg::Order order{{}, {}, plan.t_device >= 0};
  if (current != lane->handle() && motion == 0) order.after = current;
  if (current != lane->handle() && motion + 1 == plan.motions.size()) order.before = current;
  call.at.compared = true;  // by the ledger; the peers' legs may be queued later
  return std::make_shared<GpuLeg>(common_, team, rank, std::move(call), kept, lane, order);
}

std::vector<Exchange::After> Issuer::earlier_uses(const Plan& plan, int device) const {
  // Two kinds of calls of other teams are known to come before this leg and to end without it: those that the device
  // itself has made, and those of a time when no call lacked a leg. Waiting for any other could be waiting for a leg
  // that is to be queued behind this one.
  std::vector<Exchange::After> after;
  for (const auto& [devices, team] : common_->teams) {
    if (team.get() == plan.team) continue;
    uint64_t step = 0;
    const bool member = std::binary_search(devices.begin(), devices.end(), device);
    for (const int buffer : plan.buffers) {
      step = std::max(step, team->ledger.settled_use(buffer));
      if (member) step = std::max(step, team->ledger.last_use(static_cast<size_t>(team->rank_of(device)), buffer));
    }
    if (step > 0) after.push_back(team->all_got(step));
  }
  return after;
}

void Issuer::record(const Plan& plan, const std::vector<Part>& parts) {
  Team& team = *plan.team;
  for (const Part& part : parts) {
    const auto rank = static_cast<size_t>(team.rank_of(part.device));
    for (size_t i = 0; i < part.legs.size(); ++i) {
      team.ledger.issue(rank, part.signatures[i], part.steps[i], plan.buffers);
    }
  }
  for (const auto& [devices, other] : common_->teams) {
    if (other->ledger.is_open()) return;
  }
  for (const auto& [devices, other] : common_->teams) other->ledger.settle();
}

void Issuer::push(const Plan& plan, const std::vector<Part>& parts, size_t motion) {
  std::exception_ptr error;
  try {
    std::vector<Leg*> left;
    for (const Part& part : parts) left.push_back(part.legs[motion].get());
    while (!left.empty()) {  // what one waits for is queued by another, or by another thread
      const size_t before = left.size();
      std::erase_if(left, [](Leg* leg) { return leg->issue(); });
      if (left.size() == before) std::this_thread::yield();
    }
  } catch (...) {
    error = std::current_exception();
    for (const Part& part : parts) part.legs[motion]->break_off();
  }
  // Even then: what is queued is to be watched.
  for (const Part& part : parts) {
    const uint64_t place = queues_.at(part.device)->push(part.legs[motion], common_.get());
    std::lock_guard lock(mutex_);
    for (const int buffer : plan.buffers) places_[part.device][static_cast<size_t>(buffer)] = place;
    places_[part.device].back() = place;
  }
  if (error != nullptr) std::rethrow_exception(error);
}

void Issuer::push_all(const Plan& plan, const std::vector<Part>& parts) {
  std::exception_ptr error;
  for (size_t motion = 0; motion < plan.motions.size(); ++motion) {
    if (motion == 1 && plan.barrier != nullptr) {
      try {
        plan.barrier->arrive_and_wait(Patience(timeout_));
      } catch (...) {
        // Even then: a leg that stopped half-way would hold its peers, and no later leg could fit theirs.
        error = std::current_exception();
      }
    }
    push(plan, parts, motion);
  }
  if (error != nullptr) std::rethrow_exception(error);
}

void Issuer::push_by_threads(c10::ThreadPool& pool, const Plan& plan, const std::vector<Part>& parts) {
  std::mutex mutex;
  std::condition_variable changed;
  size_t left = parts.size();
  std::exception_ptr first;
  for (const Part& part : parts) {
    pool.run([&, one = std::vector<Part>{part}] {
      std::exception_ptr error;
      try {
        push_all(plan, one);
      } catch (...) {
        error = std::current_exception();
      }
      std::lock_guard lock(mutex);
      if (first == nullptr) first = error;
      --left;
      changed.notify_all();
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return left == 0; });
  if (first != nullptr) std::rethrow_exception(first);
}

void Issuer::set_multithreaded(bool multithreaded) {
  // Outside of the lock: what is replaced joins its threads.
  std::shared_ptr<c10::ThreadPool> pool;
  if (multithreaded) pool = std::make_shared<c10::ThreadPool>(static_cast<int>(devices_.size()));
  std::lock_guard lock(mutex_);
  if ((pool_ == nullptr) == multithreaded) pool_.swap(pool);
}

uint64_t Issuer::last_place(int device, int buffer) {
  if (buffer >= 0) {
    std::lock_guard lock(mutex_);
    return places_[device][static_cast<size_t>(buffer)];
  }
  const auto& queue = queues_.at(device);
  return on_gpus() ? queue->push(std::make_shared<GpuMark>(lanes_.at(device)->mark()), common_.get()) : queue->pushed();
}

void Issuer::synchronize(int buffer, const Patience& patience) {
  std::map<int, uint64_t> places;
  for (const int device : devices_) places[device] = last_place(device, buffer);
  for (const auto& [device, queue] : queues_) {
    if (queue->wait(places[device], patience)) continue;
    common_->failure.check("tp_synchronize");
    throw GroupError(concat("tp_synchronize: the work of device ", device,
                            " must be done within the time-out; it is not after ", patience.seconds_waited(), " s"));
  }
  common_->failure.check("tp_synchronize");
  if (buffer >= 0) return;
  for (const auto& [device, queue] : queues_) queue->raise_kept();
}

void Issuer::close() {
  const Locks locks = lock_queues(devices_);
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
    for (const auto& [devices, team] : common_->teams) {
      if (team->ledger.is_open()) common_->failure.fail("it was freed while a call lacked a leg");
    }
  }
  bool drained = false;
  try {
    drained = drain();
  } catch (const Interrupted&) {
    abandon("it was freed");
    throw;
  }
  for (const auto& [device, queue] : queues_) queue->forget(common_.get());
  if (drained) return;
  abandon("it was freed");
  throw GroupError(concat("free_tp_context: the work in flight must be done within the time-out; it is not after ",
                          timeout_.count() / 1000.0, " s"));
}

bool Issuer::drain() {
  const Patience patience(timeout_);
  for (const auto& [device, queue] : queues_) {
    if (!queue->wait(places_[device].back(), patience)) return false;
  }
  return true;
}

}  // namespace pinnedpg::tp
