// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/recorder.h"

#include "base/check.h"
#include "collective/collectives.h"
#include "device/recording_stream.h"

namespace pinnedpg {

namespace {

constexpr const char* kVerbs[] = {"copy", "reduce", "arrive", "wait"};

/// Names addresses by the space they lie in.
class Names {
 public:
  Names(const Staging& staging, std::vector<Space> spaces) : staging_(staging), spaces_(std::move(spaces)) {
    for (int rank = 0; rank < staging.geometry().world_size; ++rank) {
      spaces_.push_back({concat("slots ", rank), staging.slot(rank, 0), staging.slots_bytes()});
    }
  }

  /// A region as the byte ranges of its rows.
  void name(const Region& region, std::vector<Span>& spans) const {
    for (const Space& space : spaces_) {
      if (region.data < space.data || region.data >= space.data + space.bytes) continue;
      const auto begin = static_cast<size_t>(region.data - space.data);
      if (region.is_flat()) {
        spans.push_back({space.name, begin, begin + region.bytes()});
      } else {
        for (size_t row = 0; row < region.rows; ++row) {
          const size_t at = begin + row * region.pitch;
          spans.push_back({space.name, at, at + region.row_bytes});
        }
      }
      return;
    }
    throw ValueError("record: a region lies in no space that has a name");
  }

  std::string name(const Flag* flag) const {
    const Flag* gots = &staging_.got(0);
    return flag >= gots ? concat("got ", flag - gots) : concat("put ", flag - &staging_.put(0));
  }

 private:
  const Staging& staging_;
  std::vector<Space> spaces_;
};

}  // namespace

std::vector<Event> record(const Geometry& geometry, int calls, bool two_lanes, const std::vector<Space>& spaces,
                          const std::function<Call::Leg(int rank, int call)>& leg) {
  auto memory = std::shared_ptr<std::byte>(
      static_cast<std::byte*>(::operator new(Staging::bytes_needed(geometry), std::align_val_t{4096})),
      [](std::byte* data) { ::operator delete(data, std::align_val_t{4096}); });
  std::fill_n(memory.get(), Staging(nullptr, geometry).control_bytes(), std::byte{});
  const Staging staging(memory.get(), geometry);
  const Names names(staging, spaces);
  std::vector<Event> events;
  for (int rank = 0; rank < geometry.world_size; ++rank) {
    RecordingStream::Log log;
    RecordingStream put(two_lanes ? "put" : "host", log), get(two_lanes ? "get" : "host", log);
    Communicator communicator(memory, staging, rank, 1);
    for (int number = 0; number < calls; ++number) {
      Call call;
      call.legs = {leg(rank, number)};
      call.at.compared = true;  // the peers' labels are not written in the order of time here
      const Lanes lanes{&put, &get};
      communicator.advance(call, {&lanes, 1});
    }
    for (const auto& [lane, recorded] : log) {
      Event event{rank, lane, kVerbs[static_cast<int>(recorded.verb)], {}, {}, {}, recorded.step};
      for (const Region& region : recorded.reads) names.name(region, event.reads);
      for (const Region& region : recorded.writes) names.name(region, event.writes);
      for (const Flag* flag : recorded.flags) event.flags.push_back(names.name(flag));
      events.push_back(std::move(event));
    }
  }
  return events;
}

namespace {

/// What a rank exchanges in a call. It reads what the call before it wrote, and the root moves on from call to call, so
/// that the waits between calls are needed too.
Call::Leg collective_leg(const std::string& name, collectives::Seat seat, int call, size_t bytes,
                         size_t one_shot_bytes) {
  const auto ranks = static_cast<size_t>(seat.world_size);
  const int root = call % seat.world_size;
  const Reduction sum{};
  std::byte* const read = imaginary(seat.rank, call % 2);
  std::byte* const written = imaginary(seat.rank, 1 - call % 2);
  const Region in = Region::flat(read, bytes), out = Region::flat(written, bytes);
  const Region data = Region::flat(imaginary(seat.rank, 1), bytes);
  std::vector<Region> ins, outs;
  for (size_t i = 0; i < ranks; ++i) {
    ins.push_back(Region::flat(read + i * bytes, bytes));
    outs.push_back(Region::flat(written + i * bytes, bytes));
  }
  // The place of a shard that the next call puts.
  const Region next_shard = outs[seat.rank == 0 ? ranks - 1 : 0];
  if (name == "barrier") return collectives::barrier(seat);
  if (name == "broadcast") return collectives::broadcast(seat, root, data);
  if (name == "all_reduce") return collectives::all_reduce(seat, data, sum, one_shot_bytes);
  if (name == "reduce") return collectives::reduce(seat, root, in, out, sum);
  if (name == "all_gather") return collectives::all_gather(seat, in, outs);
  if (name == "gather") return collectives::gather(seat, root, in, outs);
  if (name == "scatter") return collectives::scatter(seat, root, ins, out);
  if (name == "reduce_scatter") return collectives::reduce_scatter(seat, ins, next_shard, sum);
  if (name == "all_to_all") return collectives::all_to_all(seat, ins, outs, bytes);
  throw ValueError(concat(
      "trace: name must be barrier, broadcast, all_reduce, reduce, all_gather, gather, scatter, reduce_scatter or ",
      "all_to_all; got ", name));
}

}  // namespace

std::vector<Event> record_collective(const std::string& name, const Geometry& geometry, int calls, bool two_lanes,
                                     size_t bytes) {
  const auto ranks = static_cast<size_t>(geometry.world_size);
  std::vector<Space> spaces;
  for (int rank = 0; rank < geometry.world_size; ++rank) {
    spaces.push_back({concat("in ", rank), imaginary(rank, 0), bytes * ranks});
    spaces.push_back({concat("out ", rank), imaginary(rank, 1), bytes * ranks});
  }
  return record(geometry, calls, two_lanes, spaces, [&](int rank, int call) {
    return collective_leg(name, {rank, geometry.world_size}, call, bytes, geometry.one_shot_bytes);
  });
}

}  // namespace pinnedpg
