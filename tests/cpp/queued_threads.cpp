// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors

// Threads as ranks whose calls are queued on a fake GPU (tests/fake), for the sanitizers: random collectives behind a
// producer that is late, several under way, with checked results; small ones as one kernel. Usage: queued_threads
// [rounds] [seed] [patience_s]

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <thread>

#include "c10d/cuda_fused.h"
#include "checked_call.h"
#include "device/cuda_stream.h"
#include "device/queue.h"
#include "expect.h"
#include "memory/segment.h"

namespace pinnedpg::checked {
namespace {

std::atomic<int> fused = 0;
std::chrono::seconds patience{60};  // of a call; less where an order is left out, and a call waits in vain
constexpr size_t kUnderWay = Communicator::kQueuedCalls / 2;

/// A segment and who shares it.
struct Group {
  const Geometry geometry;
  const std::shared_ptr<Segment> segment = Segment::create(Staging::bytes_needed(geometry));

  Staging staging() const { return Staging(segment->data(), geometry); }
};

/// A rank's streams: its own, on which in turn its tensors are made and small calls run, and the two lanes; and where
/// its calls are watched.
struct Streams {
  explicit Streams(Communicator& communicator) : fused(communicator, 0) {}

  CudaStream own[2] = {CudaStream(0), CudaStream(0)};
  CudaStream put{0}, get{0};
  FusedCalls fused;
  std::shared_ptr<Queue> watched = std::make_shared<Queue>();
};

/// A call until its end, for the worker; of some nobody waits for it.
class Watch final : public Task {
 public:
  Watch(Communicator& communicator, uint64_t number, std::shared_ptr<CudaMark> end)
      : communicator_(communicator), number_(number), end_(std::move(end)) {}

  bool advance() override {
    if (!communicator_.compare_queued(number_) || !end_->is_over()) return false;
    communicator_.end_queued(number_);
    return true;
  }
  bool is_urgent() const override { return number_ / 8 % 2 == 0; }
  void finish(std::exception_ptr error) override {
    if (error) std::rethrow_exception(error);
    over.store(true, std::memory_order_release);
  }

  std::atomic<bool> over{false};

 private:
  Communicator& communicator_;
  const uint64_t number_;
  const std::shared_ptr<CudaMark> end_;
};

/// One call of a rank, from its late producer to its checked end.
class Queued {
 public:
  Queued(Communicator& communicator, Streams& streams, const Plan& plan, const Geometry& geometry)
      : communicator_(communicator),
        member_(plan, collectives::Seat{communicator.first_rank(), geometry.world_size}, 1) {
    call_.legs = {member_.leg(geometry.one_shot_bytes)};
    call_.label = plan.label(communicator.first_rank());
    call_.timeout = patience;
    CudaStream& own = streams.own[communicator.call_count() % 2];
    produce_late(own);
    auto end = push(streams, own);
    if (!end) end = queue(streams, own);
    watch_ = std::make_shared<Watch>(communicator, call_.label.number, std::move(end));
    streams.watched->push(watch_);
  }

  void finish() {
    for (int looks = 0; !watch_->over.load(std::memory_order_acquire); ++looks) {
      if (looks < 1000) std::this_thread::yield();
      if (looks >= 1000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    EXPECT(member_.is_right(), call_.label.to_string(), " call ", call_.label.number);
  }

 private:
  /// As one kernel, where it is small.
  std::shared_ptr<CudaMark> push(Streams& streams, CudaStream& own) {
    auto round = streams.fused.round_of(call_);
    if (!round) return nullptr;
    communicator_.announce(call_);
    ++fused;
    return streams.fused.queue(*round, call_, own.handle());
  }
  std::shared_ptr<CudaMark> queue(Streams& streams, CudaStream& own) {
    const CudaEvent begin(0, own.handle());
    begin.hold(streams.put.handle());
    begin.hold(streams.get.handle());
    const Lanes lanes{&streams.put, &streams.get};
    communicator_.queue(call_, {&lanes, 1});
    return std::make_shared<CudaEvent>(0, streams.get.handle());
  }
  /// What the call reads is nought until the stream has brought it.
  void produce_late(CudaStream& stream) {
    for (const Exchange& exchange : call_.legs[0]) {
      for (const auto& put : exchange.puts) bring(put.from, stream);
      for (const auto& get : exchange.gets) bring(get.own, stream);
    }
  }
  void bring(const Region& region, CudaStream& stream) {
    for (const auto& [data, bytes] : brought_) {
      if (region.data >= data && region.data < data + bytes.size()) return;
    }
    if (region.bytes() == 0) return;
    brought_.emplace_back(region.data, std::vector<std::byte>(region.data, region.data + region.bytes()));
    std::vector<std::byte>& bytes = brought_.back().second;
    std::memset(region.data, 0, region.bytes());
    stream.copy(region, Region::flat(bytes.data(), bytes.size()), Toward::kRank);
  }

  Communicator& communicator_;
  Member member_;
  Call call_;
  std::shared_ptr<Watch> watch_;
  std::list<std::pair<std::byte*, std::vector<std::byte>>> brought_;
};

void run_rank(const Group& group, int rank, int rounds, unsigned seed, std::atomic<int>& present) {
  Communicator communicator(Segment::open(group.segment->handle()), group.staging(), rank, 1);
  ++present;
  while (present < group.geometry.world_size) std::this_thread::yield();
  Streams streams(communicator);
  std::mt19937 common(seed), own(seed + 1 + static_cast<unsigned>(rank));
  std::list<Queued> under_way;
  const auto finish_all = [&] {
    for (Queued& call : under_way) call.finish();
    under_way.clear();
  };
  for (int round = 0; round < rounds; ++round) {
    const Plan plan = Plan::draw(common, group.geometry.world_size, static_cast<uint64_t>(round));
    under_way.emplace_back(communicator, streams, plan, group.geometry);
    if (under_way.size() == kUnderWay || own() % 4 == 0) finish_all();
  }
  finish_all();
}

void run(int ranks, int rounds, unsigned seed) {
  const Group group{{ranks, 1024, 4, 512, 512, 256}};
  std::vector<std::thread> threads;
  std::atomic<int> present = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] { run_rank(group, rank, rounds, seed, present); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace pinnedpg::checked

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  if (argc > 3) pinnedpg::checked::patience = std::chrono::seconds(std::atoi(argv[3]));
  ::alarm(300);  // what hangs is killed
  for (const int ranks : {1, 2, 3, 4}) pinnedpg::checked::run(ranks, rounds, seed);
  std::printf("%d checked calls, queued by 1 to 4 threads each; %d as one kernel\n", 4 * rounds,
              pinnedpg::checked::fused.load());
  return 0;
}
