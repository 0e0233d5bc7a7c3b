// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/issuer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
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

/// One exchange of one leg, in its device's queue.
class Issuer::LegTask final : public Task {
 public:
  LegTask(std::shared_ptr<Teams> teams, std::shared_ptr<Failure> failure, Team& team, int rank, Call call,
          std::shared_ptr<std::vector<at::Tensor>> kept)
      : teams_(std::move(teams)),
        failure_(std::move(failure)),
        team_(team),
        rank_(rank),
        call_(std::move(call)),
        kept_(std::move(kept)) {}

  bool advance() override {
    failure_->check(call_.label.name());
    return team_.advance(rank_, call_);
  }

  void finish(std::exception_ptr error) override {
    kept_.reset();
    if (error == nullptr) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& fault) {
      failure_->fail(fault.what());
    }
  }

 private:
  const std::shared_ptr<Teams> teams_;
  const std::shared_ptr<Failure> failure_;
  Team& team_;
  const int rank_;
  Call call_;
  std::shared_ptr<std::vector<at::Tensor>> kept_;
};

Issuer::Issuer(Queues queues, size_t buffers, std::chrono::milliseconds timeout)
    : queues_(std::move(queues)), devices_(devices_of(queues_)), buffers_(buffers), timeout_(timeout) {
  for (const int device : devices_) places_[device].resize(buffers + 1);
}

Issuer::~Issuer() = default;

Team& Issuer::team(const std::vector<int>& devices) {
  std::lock_guard lock(mutex_);
  std::unique_ptr<Team>& team = (*teams_)[devices];
  // tp_all_reduce alone uses slots, and it is a call of all devices.
  if (team == nullptr) team = std::make_unique<Team>(devices, devices == devices_ ? kSlotBytes : 64, buffers_);
  return *team;
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
  std::vector<Leg> legs;
  std::shared_ptr<c10::ThreadPool> pool;
  {
    std::lock_guard lock(mutex_);
    PINNEDPG_CHECK(!closed_, plan.function, ": tp_context must be alive; got one that is being freed");
    failure_->check(plan.function);
    if (plan.t_device < 0) check_open(plan);
    const auto kept = std::make_shared<std::vector<at::Tensor>>(std::move(plan.tensors));
    for (const int device : devices) legs.push_back(prepare(plan, device, kept));
    record(plan, legs);
    pool = pool_;
  }
  if (pool == nullptr || legs.size() == 1) return push_all(plan, legs);
  push_by_threads(*pool, plan, legs);
}

void Issuer::check_open(const Plan& plan) const {
  for (const auto& [devices, team] : *teams_) {
    if (!team->ledger.is_open()) continue;
    // The missing leg would come behind this call in its device's queue, and this call behind the others' legs in
    // theirs.
    throw ValueError(concat(plan.function, ": every leg of ", team->ledger.oldest().to_string(), " on devices ",
                            Listed{devices}, " must be issued before a call for all devices; got none for device ",
                            devices[team->ledger.missing()]));
  }
}

Issuer::Leg Issuer::prepare(const Plan& plan, int device, const std::shared_ptr<std::vector<at::Tensor>>& kept) const {
  Team& team = *plan.team;
  const int rank = team.rank_of(device);
  Leg leg{device, {}, {}, {}};
  for (size_t i = 0; i < plan.motions.size(); ++i) {
    const Signature signature = team.ledger.resolve(static_cast<size_t>(rank), plan.motions[i].signature);
    team.ledger.check(plan.function, team.devices(), static_cast<size_t>(rank), i, signature);
    Call call;
    call.label = signature.label();
    call.timeout = timeout_;
    call.legs = {{plan.motions[i].leg(rank)}};
    if (i == 0) call.legs[0][0].after = earlier_uses(plan, device);
    leg.signatures.push_back(signature);
    leg.steps.push_back(call.legs[0][0].rounds(team.geometry()));
    leg.tasks.push_back(std::make_shared<LegTask>(teams_, failure_, team, rank, std::move(call), kept));
  }
  return leg;
}

std::vector<Exchange::After> Issuer::earlier_uses(const Plan& plan, int device) const {
  // Two kinds of calls of other teams are known to come before this leg and to end without it: those that the device
  // itself has made, and those of a time when no call lacked a leg. Waiting for any other could be waiting for a leg
  // that is to be queued behind this one.
  std::vector<Exchange::After> after;
  for (const auto& [devices, team] : *teams_) {
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

void Issuer::record(const Plan& plan, const std::vector<Leg>& legs) {
  Team& team = *plan.team;
  for (const Leg& leg : legs) {
    const auto rank = static_cast<size_t>(team.rank_of(leg.device));
    for (size_t i = 0; i < leg.tasks.size(); ++i) {
      team.ledger.issue(rank, leg.signatures[i], leg.steps[i], plan.buffers);
    }
  }
  for (const auto& [devices, other] : *teams_) {
    if (other->ledger.is_open()) return;
  }
  for (const auto& [devices, other] : *teams_) other->ledger.settle();
}

void Issuer::push(const Plan& plan, const Leg& leg, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const uint64_t place = queues_.at(leg.device)->push(leg.tasks[i], failure_.get());
    std::lock_guard lock(mutex_);
    for (const int buffer : plan.buffers) places_[leg.device][static_cast<size_t>(buffer)] = place;
    places_[leg.device].back() = place;
  }
}

void Issuer::push_all(const Plan& plan, const std::vector<Leg>& legs) {
  const size_t motions = plan.motions.size();
  const size_t before = plan.barrier == nullptr ? motions : 1;
  for (const Leg& leg : legs) push(plan, leg, 0, before);
  std::exception_ptr error;
  if (plan.barrier != nullptr) {
    try {
      plan.barrier->arrive_and_wait(Patience(timeout_));
    } catch (...) {
      error = std::current_exception();
    }
  }
  // Even then: a leg that stopped half-way would hold its peers, and no later leg could fit theirs.
  for (const Leg& leg : legs) push(plan, leg, before, motions);
  if (error != nullptr) std::rethrow_exception(error);
}

void Issuer::push_by_threads(c10::ThreadPool& pool, const Plan& plan, const std::vector<Leg>& legs) {
  std::mutex mutex;
  std::condition_variable changed;
  size_t left = legs.size();
  std::exception_ptr first;
  for (const Leg& leg : legs) {
    pool.run([&, one = std::vector<Leg>{leg}] {
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

void Issuer::synchronize(int buffer, const Patience& patience) {
  std::map<int, uint64_t> places;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [device, by_buffer] : places_)
      places[device] = by_buffer[static_cast<size_t>(std::max(buffer, 0))];
  }
  for (const auto& [device, queue] : queues_) {
    if (queue->wait(buffer < 0 ? queue->pushed() : places[device], patience)) continue;
    failure_->check("tp_synchronize");
    throw GroupError(concat("tp_synchronize: the work of device ", device,
                            " must be done within the time-out; it is not after ", patience.seconds_waited(), " s"));
  }
  failure_->check("tp_synchronize");
  if (buffer >= 0) return;
  for (const auto& [device, queue] : queues_) queue->raise_kept();
}

void Issuer::close() {
  const Locks locks = lock_queues(devices_);
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
    for (const auto& [devices, team] : *teams_) {
      if (team->ledger.is_open()) failure_->fail("it was freed while a call lacked a leg");
    }
  }
  bool drained = false;
  try {
    drained = drain();
  } catch (const Interrupted&) {
    abandon("it was freed");
    throw;
  }
  for (const auto& [device, queue] : queues_) queue->forget(failure_.get());
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
