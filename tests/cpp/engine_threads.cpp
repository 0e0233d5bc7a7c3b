// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors

// Threads as ranks over one segment, for the sanitizers: random collectives with checked results, done by the caller or
// by the worker, in several groups at once; and groups that fail. Usage: engine_threads [rounds] [seed]

#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

#include "checked_call.h"
#include "device/host_stream.h"
#include "device/queue.h"
#include "device/releaser.h"
#include "expect.h"

namespace pinnedpg::checked {
namespace {

constexpr std::chrono::seconds kPatience{60};

/// Runs `body` as every rank's thread, and waits for all.
void as_threads(int count, const std::function<void(int thread)>& body) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < count; ++thread) threads.emplace_back(body, thread);
  for (std::thread& thread : threads) thread.join();
}

/// A segment and who shares it: `threads` ranks, or more if a thread drives several members.
struct Group {
  const int threads, local_count;
  const Geometry geometry;
  const std::shared_ptr<Segment> segment;

  /// `first_step`: where all flags stand, to go round the circle of steps.
  explicit Group(int threads, int local_count = 1, size_t slot_bytes = 1024, uint32_t depth = 4,
                 uint32_t first_step = 0)
      : threads(threads),
        local_count(local_count),
        geometry{threads * local_count, slot_bytes, depth, 512},
        segment(Segment::create(Staging::bytes_needed(geometry))) {
    for (int rank = 0; rank < geometry.world_size; ++rank) {
      staging().put(rank).step.store(first_step);
      staging().got(rank).step.store(first_step);
    }
  }
  Staging staging() const { return Staging(segment->data(), geometry); }
};

/// One thread's place in a group.
struct Seat {
  const Group& group;
  Communicator communicator;
  HostStream blocking, polling;
  std::vector<Lanes> blocking_lanes, polling_lanes;
  std::shared_ptr<Queue> queue = std::make_shared<Queue>();

  Seat(const Group& group, int thread)
      : group(group),
        communicator(Segment::open(group.segment->handle()), group.staging(), thread * group.local_count,
                     group.local_count),
        blocking(HostStream::Mode::kBlock, group.staging().control().bell, communicator.watchdog(),
                 WaitPolicy::for_ranks(group.threads)),
        polling(HostStream::Mode::kPoll, group.staging().control().bell, communicator.watchdog(),
                WaitPolicy::for_ranks(group.threads)),
        blocking_lanes(static_cast<size_t>(group.local_count), Lanes{&blocking, &blocking}),
        polling_lanes(static_cast<size_t>(group.local_count), Lanes{&polling, &polling}) {}
};

/// One call of a seat: done inline where the queue is idle and `may_inline`, else by the worker.
class Operation final : public Task {
 public:
  Operation(Seat& seat, const Plan& plan, std::chrono::milliseconds timeout = kPatience) : seat_(seat) {
    const Group& group = seat.group;
    for (int i = 0; i < group.local_count; ++i) {
      members_.emplace_back(plan, collectives::Seat{seat.communicator.first_rank() + i, group.geometry.world_size},
                            group.local_count);
    }
    for (Member& member : members_) call_.legs.push_back(member.leg(group.geometry.one_shot_bytes));
    call_.label = plan.label(seat.communicator.first_rank());
    call_.timeout = timeout;
  }

  static std::shared_ptr<Operation> start(std::shared_ptr<Operation> operation, bool may_inline) {
    Seat& seat = operation->seat_;
    if (!may_inline || !seat.queue->try_begin()) {
      seat.queue->push(operation);
      return operation;
    }
    std::exception_ptr error;
    try {
      seat.communicator.advance(operation->call_, seat.blocking_lanes);
    } catch (...) {
      error = std::current_exception();
    }
    seat.queue->end();
    operation->finish(error);
    return operation;
  }

  bool advance() override { return seat_.communicator.advance(call_, seat_.polling_lanes); }

  void finish(std::exception_ptr error) override {
    std::string text;
    try {
      if (error) std::rethrow_exception(error);
    } catch (const GroupError& group_error) {
      text = group_error.what();
    }
    std::lock_guard lock(mutex_);
    error_ = text;
    done_ = true;
    changed_.notify_all();
  }

  /// The text of its error, empty if it went well; and then its results are right.
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    for (const Member& member : members_) {
      EXPECT(!error_.empty() || member.is_right(), call_.label.to_string(), " call ", call_.label.number);
    }
    return error_;
  }

 private:
  Seat& seat_;
  Call call_;
  std::vector<Member> members_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::string error_;
};

using Started = std::vector<std::shared_ptr<Operation>>;

/// All groups' calls in one common order; each thread decides by itself who does a call and when it waits.
void run_mixed(int rounds, unsigned seed) {
  constexpr int kThreads = 4;
  std::vector<std::unique_ptr<Group>> groups;
  groups.push_back(std::make_unique<Group>(kThreads));
  groups.push_back(std::make_unique<Group>(kThreads, 1, 4096, 8, uint32_t{0} - 100));
  groups.push_back(std::make_unique<Group>(kThreads, 2, 1024));
  as_threads(kThreads, [&](int thread) {
    std::vector<std::unique_ptr<Seat>> seats;
    for (const auto& group : groups) seats.push_back(std::make_unique<Seat>(*group, thread));
    std::mt19937 common(seed), own(seed + 1 + static_cast<unsigned>(thread));
    Started started;
    for (int round = 0; round < rounds; ++round) {
      Seat& seat = *seats[common() % seats.size()];
      const Plan plan = Plan::draw(common, seat.group.geometry.world_size, static_cast<uint64_t>(round));
      started.push_back(Operation::start(std::make_shared<Operation>(seat, plan), own() % 4 != 0));
      if (own() % 3 != 0) continue;
      for (const auto& operation : started) EXPECT(operation->wait().empty(), operation->wait());
      started.clear();
    }
    for (const auto& operation : started) EXPECT(operation->wait().empty(), operation->wait());
  });
}

/// Every thread calls until the group fails; all of them must learn why, and again at the next call.
void run_until_failure(unsigned seed, const std::string& reason,
                       const std::function<bool(Seat& seat, int thread, int round)>& goes_on) {
  constexpr int kThreads = 3;
  const Group group(kThreads);
  as_threads(kThreads, [&](int thread) {
    auto seat = std::make_unique<Seat>(group, thread);
    std::mt19937 common(seed), own(seed + 1 + static_cast<unsigned>(thread));
    Started started;
    std::string error;
    for (int round = 0; error.empty(); ++round) {
      if (!goes_on(*seat, thread, round)) break;
      Plan plan = Plan::draw(common, kThreads, static_cast<uint64_t>(round));
      const std::chrono::milliseconds timeout =
          reason == "the timeout of the call" ? std::chrono::milliseconds(300) : kPatience;
      if (reason == " called " && round == 20 && thread == 1) plan.count += 1;
      started.push_back(Operation::start(std::make_shared<Operation>(*seat, plan, timeout), own() % 2 == 0));
      if (own() % 2 != 0) continue;
      for (const auto& operation : started) error = error.empty() ? operation->wait() : error;
    }
    for (const auto& operation : started) error = error.empty() ? operation->wait() : error;
    for (const auto& operation : started) operation->wait();
    if (error.empty()) return;  // the one who went away
    EXPECT(error.find(reason) != std::string::npos, error);
    const Plan last = Plan::draw(common, kThreads, 0);
    const std::string again = Operation::start(std::make_shared<Operation>(*seat, last), own() % 2 == 0)->wait();
    EXPECT(again.find(reason) != std::string::npos, again);
  });
}

void run_failures(unsigned seed) {
  run_until_failure(seed, "enough of it", [](Seat& seat, int thread, int round) {
    if (thread == 1 && round == 25) seat.communicator.abort("enough of it");
    return true;
  });
  run_until_failure(seed, " called ", [](Seat&, int, int) { return true; });
  run_until_failure(seed, "has left the group", [](Seat&, int thread, int round) { return thread != 2 || round < 15; });
  run_until_failure(seed, "the timeout of the call", [](Seat& seat, int thread, int round) {
    if (thread != 0 || round < 10) return true;
    while (!seat.group.staging().control().aborted()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return false;
  });
}

/// What several threads let go of is gone, on one thread that is none of theirs; later comers are kept for ever.
void run_releases() {
  constexpr int kThreads = 4, kEach = 2000;
  static std::atomic<int> gone{0}, here{0};
  struct Kept {
    explicit Kept(std::thread::id owner) : owner(owner) {}
    ~Kept() { ++(std::this_thread::get_id() == owner ? here : gone); }
    const std::thread::id owner;
  };
  as_threads(kThreads, [](int) {
    for (int i = 0; i < kEach; ++i) let_go_aside(std::make_shared<Kept>(std::this_thread::get_id()));
  });
  retire_releaser(kPatience);
  EXPECT(gone == kEach * kThreads && here == 0, std::to_string(gone) + " are gone");
  let_go_aside(std::make_shared<Kept>(std::this_thread::get_id()));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT(gone == kEach * kThreads && here == 0, "one is gone that came too late");
}

}  // namespace
}  // namespace pinnedpg::checked

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 600;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  ::alarm(300);  // what hangs is killed
  pinnedpg::checked::run_mixed(rounds, seed);
  std::printf("%d checked calls of 4 threads in 3 groups\n", rounds);
  for (unsigned round = 0; round < 5; ++round) pinnedpg::checked::run_failures(seed + round);
  std::printf("20 groups failed as they should\n");
  pinnedpg::checked::run_releases();
  return 0;
}
