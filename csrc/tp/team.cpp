// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/team.h"

#include <algorithm>

#include "base/check.h"
#include "device/pinned.h"

namespace pinnedpg::tp {

namespace {

Geometry geometry_for(size_t devices, size_t slot_bytes) {
  constexpr uint32_t kDepth = 4;
  return {static_cast<int>(devices), slot_bytes, kDepth, slot_bytes};
}

/// All of it at once: a shortage of memory is an exception here.
std::shared_ptr<Segment> make_segment(const Geometry& geometry) {
  const size_t bytes = Staging::bytes_needed(geometry);
  auto segment = Segment::create(bytes);
  segment->reserve(0, bytes);
  segment->seal();
  return segment;
}

}  // namespace

Team::Team(std::vector<int> devices, size_t slot_bytes, size_t buffers, const GpuLanes& lanes)
    : ledger(devices.size(), buffers),
      devices_(std::move(devices)),
      segment_(make_segment(geometry_for(devices_.size(), slot_bytes))),
      pinned_(lanes.empty() ? nullptr : pin_shared(segment_, segment_->data(), segment_->bytes())),
      staging_(segment_->data(), geometry_for(devices_.size(), slot_bytes)) {
  const auto names = [this](int rank) { return concat("device ", devices_[static_cast<size_t>(rank)]); };
  for (size_t rank = 0; rank < devices_.size(); ++rank) {
    const auto gpu = lanes.empty() ? nullptr : lanes.at(devices_[rank]);
    members_.push_back(std::make_unique<Member>(segment_, staging_, static_cast<int>(rank), names, gpu));
  }
}

Team::Member::Member(std::shared_ptr<void> memory, Staging staging, int rank, const Watchdog::Names& names,
                     std::shared_ptr<GpuLane> gpu)
    : communicator(std::move(memory), staging, rank, 1, {}, names),
      watchdog(staging, rank, {}, names),
      stream(HostStream::Mode::kPoll, staging.control().bell, communicator.watchdog(), {}),
      gpu(std::move(gpu)),
      lanes{&stream, &stream} {
  if (this->gpu) lanes = {this->gpu.get(), this->gpu.get()};
}

int Team::rank_of(int device) const {
  return static_cast<int>(std::lower_bound(devices_.begin(), devices_.end(), device) - devices_.begin());
}

bool Team::advance(int rank, Call& call) {
  Member& member = *members_[static_cast<size_t>(rank)];
  return member.communicator.advance(call, {&member.lanes, 1});
}

bool Team::is_over(int rank, uint32_t step, bool closes) const {
  for (int peer = 0; closes && peer < static_cast<int>(devices_.size()); ++peer) {
    if (!staging_.got(peer).has_reached(step)) return false;
  }
  return staging_.got(rank).has_reached(step);
}

std::vector<Flag*> Team::late(int rank, uint32_t step) const {
  std::vector<Flag*> unissued, others;
  for (int peer = 0; peer < static_cast<int>(devices_.size()); ++peer) {
    if (peer == rank) continue;
    Flag* const put = &staging_.put(peer);
    if (!put->is_issued(step)) unissued.push_back(put);
    if (!put->has_reached(step)) others.push_back(put);
  }
  return !unissued.empty() ? unissued : !others.empty() ? others : std::vector<Flag*>{&staging_.got(rank)};
}

void Team::release() {
  uint32_t step =
      staging_.put(0).issued.load();  // the largest that any leg waits for, since a leg waits for none beyond its own
  for (int rank = 0; rank < static_cast<int>(devices_.size()); ++rank) {
    for (const Flag* flag : {&staging_.put(rank), &staging_.got(rank)}) {
      const uint32_t issued = flag->issued.load();
      if (!reached(step, issued)) step = issued;
    }
  }
  members_[0]->communicator.release_queued(step);
}

Exchange::After Team::all_got(uint64_t step) const {
  Exchange::After after{{}, static_cast<uint32_t>(step)};
  for (size_t rank = 0; rank < devices_.size(); ++rank) after.flags.push_back(&staging_.got(static_cast<int>(rank)));
  return after;
}

}  // namespace pinnedpg::tp
