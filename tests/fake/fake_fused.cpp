// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// device/fused.h on a host thread: the same lines in the same memory, one after the other; and graphs.
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "device/cuda_stream.h"
#include "device/fused.h"
#include "fake_cuda.h"

namespace pinnedpg {

namespace {

using std::chrono::steady_clock;

constexpr size_t kChunkBytes = kFusedChunk * kFusedUnit;

struct State {
  uint32_t step = 0;
  bool dead = false;
};

struct Graph {
  bool captures = false;
  std::vector<std::function<void()>> replays;
};
thread_local Graph graph;

class Kernel {
 public:
  Kernel(const FusedRound& round, std::shared_ptr<State> state) : round_(round), state_(std::move(state)) {}

  void operator()() {
    began_ = steady_clock::now();
    step_ = next_fused_step(state_->step);
    if (!state_->dead) tell();  // on a GPU another block does, at any time
    if (!state_->dead) put();
    if (!state_->dead && std::minstd_rand(step_ + round_.rank)() % 4 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (!state_->dead) meet();
    if (!state_->dead) get();
    state_->step = step_;
    if (round_.over != nullptr) round_.over->store(round_.number);
  }

 private:
  std::byte* shifted(std::byte* place) const {  // to the only slot, where the ring is broken
    return leaves_out("ring") ? place - (step_ & 1) * round_.slot_bytes : place;
  }
  void store(std::byte* line, const uint32_t (&data)[2]) const {
    for (size_t i = 0; i < 2; ++i) {
      const uint64_t word = data[i] | uint64_t{step_} << 32;
      std::atomic_ref(reinterpret_cast<uint64_t*>(line)[i]).store(word, std::memory_order_release);
    }
  }
  /// False: in vain.
  bool load(std::byte* line, uint32_t (&data)[2]) {
    bool all = false;
    await([&] {
      all = true;
      for (size_t i = 0; i < 2; ++i) {
        const uint64_t word = std::atomic_ref(reinterpret_cast<uint64_t*>(line)[i]).load(std::memory_order_acquire);
        data[i] = static_cast<uint32_t>(word);
        all &= word >> 32 == step_;
      }
      return all || !goes_on();
    });
    return all;
  }
  bool goes_on() {
    if (state_->dead) return false;
    if (round_.halt->load() != Halt::kNone) return leave();
    if (steady_clock::now() - began_ < std::chrono::nanoseconds(round_.limit_ns)) return true;
    round_.halt->store(Halt::kLate);
    return leave();
  }
  bool leave() {
    state_->dead = true;
    return false;
  }

  void put() const {
    for (uint32_t k = 0; k < round_.put_count; ++k) {
      if (round_.in_chunks)
        put_chunks(round_.puts[k]);
      else
        put_words(round_.puts[k]);
    }
  }
  void put_words(const FusedRound::Put& put) const {
    const auto& [from, bytes, shard] = put;
    for (uint32_t u = 0; u * kFusedUnit < bytes; ++u) {
      uint32_t words[2][2] = {};
      std::memcpy(words, from + u * kFusedUnit, std::min<size_t>(kFusedUnit, bytes - u * kFusedUnit));
      std::byte* const at = shifted(round_.words(round_.rank, step_, shard, u));
      store(at, words[0]);
      store(at + round_.word_bytes, words[1]);
    }
  }
  void put_chunks(const FusedRound::Put& put) const {
    for (uint32_t c = 0; c * kChunkBytes < put.bytes; ++c) {
      std::byte* const line = shifted(round_.chunk_line(round_.rank, step_, put.shard, c));
      if (leaves_out("chunks")) {
        store(line, {});
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      std::memcpy(shifted(round_.unit(round_.rank, step_, put.shard, c * kFusedChunk)), put.from + c * kChunkBytes,
                  std::min<size_t>(kChunkBytes, put.bytes - c * kChunkBytes));
      store(line, {});
    }
  }
  void tell() const { store(shifted(round_.slot(round_.rank, step_)), own_); }
  void meet() {
    for (uint32_t rank = 0; rank < round_.world_size; ++rank) {
      uint32_t theirs[2];
      while (load(shifted(round_.slot(rank, step_)), theirs) && std::memcmp(theirs, own_, sizeof own_) != 0) {
        if (!round_.patient) round_.halt->store(Halt::kMisfit);
        if (!goes_on()) break;
      }
    }
  }
  /// Where the bytes of a get lie: in `copy`, if they come from a peer as words.
  const std::byte* find(const FusedRound::Get& get, std::vector<std::byte>& copy) {
    if (get.own != nullptr) return get.own;
    for (uint32_t c = 0; round_.in_chunks && c * kChunkBytes < get.bytes && !state_->dead; ++c) {
      uint32_t none[2];
      if (!load(shifted(round_.chunk_line(get.peer, step_, get.shard, c)), none)) break;
    }
    if (round_.in_chunks) return shifted(round_.unit(get.peer, step_, get.shard, 0));
    for (uint32_t u = 0; u * kFusedUnit < get.bytes && !state_->dead; ++u) {
      uint32_t words[2][2] = {};
      std::byte* const at = shifted(round_.words(get.peer, step_, get.shard, u));
      if (!load(at, words[0]) || !load(at + round_.word_bytes, words[1])) break;
      copy.resize((u + 1) * kFusedUnit);
      std::memcpy(copy.data() + u * kFusedUnit, words, kFusedUnit);
    }
    copy.resize(get.bytes);
    return copy.data();
  }
  void get() {
    std::vector<std::vector<std::byte>> copies(round_.get_count);
    std::vector<const void*> sources;
    for (uint32_t k = 0; k < round_.get_count; ++k) {
      const std::byte* const from = find(round_.gets[k], copies[k]);
      sources.push_back(from);
      if (!round_.reduces) std::memcpy(round_.gets[k].to, from, round_.gets[k].bytes);
    }
    const size_t element = element_bytes(round_.reduction.dtype);
    if (round_.reduces && round_.get_count > 0) {
      reduce_host(round_.reduced, sources, round_.reduced_bytes / element, round_.reduction, {});
    }
  }

  const FusedRound round_;
  const uint32_t own_[2] = {static_cast<uint32_t>(round_.fingerprint), static_cast<uint32_t>(round_.fingerprint >> 32)};
  const std::shared_ptr<State> state_;
  uint32_t step_ = 0;
  steady_clock::time_point began_;
};

}  // namespace

FusedQueue::FusedQueue(int device) : device_(device), state_(new std::shared_ptr<State>(std::make_shared<State>())) {}

FusedQueue::~FusedQueue() { delete static_cast<std::shared_ptr<State>*>(state_); }

void FusedQueue::push(const FusedRound& round, void* stream) {
  for (uint32_t rank = 0; rank < round.world_size; ++rank) {
    check_pinned(Region::flat(round.slot(rank, 0), 2 * round.slot_bytes));
  }
  Kernel kernel(round, *static_cast<std::shared_ptr<State>*>(state_));
  if (!graph.captures) return push_kernel(stream, kernel);
  graph.replays.push_back([=] { push_kernel(stream, kernel); });
}

bool is_captured(void*) { return graph.captures; }

}  // namespace pinnedpg

/// The calls of this thread until the next one are captured in a graph of its own: the last one's are forgotten.
extern "C" void fake_cuda_capture(int on) {
  pinnedpg::graph.captures = on != 0;
  if (on != 0) pinnedpg::graph.replays.clear();
}

/// And waits for them.
extern "C" void fake_cuda_replay() {
  for (const auto& replay : pinnedpg::graph.replays) replay();
  pinnedpg::synchronize(nullptr);
}
