// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// From arguments to a plan: what all operations check, tp_broadcast and tp_cross_device_barrier.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/check.h"
#include "torch_glue/reduce_dtype.h"
#include "torch_glue/torch_streams.h"
#include "tp/tp_context.h"

namespace pinnedpg::tp {

namespace {

constexpr const char* kBroadcast = "tp_broadcast";
constexpr const char* kBarrier = "tp_cross_device_barrier";
constexpr int kStages = 3;

/// An exchange before the call's own, in which all meet.
Motion meet_first(Signature signature) {
  signature.part = -1;
  return {signature, [](int) { return meeting(); }};
}

}  // namespace

const Split& TpContext::split(const char* function, const char* argument, int type) const {
  PINNEDPG_CHECK(type >= 0 && type < kSplitTypes, function, ": ", argument,
                 " must be one of BROADCAST_KV (0) to BROADCAST_Q (4); got ", type);
  const Split& split = splits_[static_cast<size_t>(type)];
  PINNEDPG_CHECK(!split.empty(), function, ": ", argument, " must name a split that has devices; got ",
                 split_name(type), ", whose split is empty");
  return split;
}

void TpContext::check_buffer(const char* function, int buffer) const {
  PINNEDPG_CHECK(buffer >= 0 && static_cast<size_t>(buffer) < buffers_.size(), function, ": buffer must be one of the ",
                 buffers_.size(), " of pinned_temp; got ", buffer);
}

void TpContext::check_fits(const char* function, int buffer, const char* what, size_t bytes) const {
  const size_t room = buffers_[static_cast<size_t>(buffer)].bytes();
  PINNEDPG_CHECK(bytes <= room, function, ": ", what, " must fit into pinned_temp[", buffer, "], which has ", room,
                 " bytes; got ", bytes, " bytes");
}

void TpContext::check_length(const Argument& argument, const TensorList& tensors, size_t expected, int type) const {
  PINNEDPG_CHECK(tensors.size() == expected, argument, " must have an entry for each of the ", expected,
                 " shares of the ", split_name(type), " split; got ", tensors.size());
}

Team& TpContext::team(const char* function, const std::vector<int>& devices, int t_device) {
  if (t_device == -1) return issuer_.team(issuer_.devices());
  PINNEDPG_CHECK(std::binary_search(devices.begin(), devices.end(), t_device), function,
                 ": t_device must be -1 or a device that takes part, one of ", Listed{devices}, "; got ", t_device);
  return issuer_.team(devices);
}

std::vector<int> TpContext::buffers_under(int buffer, const std::vector<Matrix>& matrices) const {
  std::vector<int> under;
  for (int i = 0; i < static_cast<int>(buffers_.size()); ++i) {
    const Region& region = buffers_[static_cast<size_t>(i)];
    const auto lies_here = [&](const Matrix& matrix) { return overlap(matrix.region, region); };
    if (i == buffer || std::any_of(matrices.begin(), matrices.end(), lies_here)) under.push_back(i);
  }
  return under;
}

std::vector<Placed> TpContext::place(const std::vector<Matrix>& matrices, const Split& shares, const Team& team) {
  std::vector<Placed> placed;
  for (size_t i = 0; i < matrices.size(); ++i) placed.push_back({team.rank_of(shares[i].device), matrices[i].region});
  return placed;
}

void TpContext::broadcast(int buffer, const at::Tensor& source, int type, const TensorList& targets, int t_device) {
  const Split& shares = split(kBroadcast, "broadcast_type", type);
  check_buffer(kBroadcast, buffer);
  check_length({kBroadcast, "targets"}, targets, shares.size(), type);
  const int maker = issuer_.on_gpus() ? gpu_of(source) : kOnHost;
  const Matrix from = matrix_of({kBroadcast, "source"}, source, maker);
  check_fits(kBroadcast, buffer, "source", from.region.bytes());
  const Region stage = packed(buffers_[static_cast<size_t>(buffer)].data, from.region);
  std::vector<Matrix> matrices = written_matrices_of(kBroadcast, "targets", targets, places(shares));
  for (size_t i = 0; i < matrices.size(); ++i) {
    const Argument argument{kBroadcast, "targets", static_cast<int64_t>(i)};
    check_alike(argument, matrices[i], "source", from);
    check_clear(argument, matrices[i], stage, stage, buffer);
  }
  Team& members = team(kBroadcast, devices_of(shares), t_device);
  Broadcast motion = Broadcast::route(stage, from.region, place(matrices, shares, members));
  if (maker != kOnHost) {
    PINNEDPG_CHECK(members.has(maker), kBroadcast, ": source must be on the host or on a GPU that takes part, one of ",
                   Listed{members.devices()}, "; got one on GPU ", maker);
    motion.put_by(members.rank_of(maker));
  }
  matrices.push_back(from);
  Plan plan{kBroadcast, &members, t_device, {}, buffers_under(buffer, matrices), targets};
  plan.tensors.push_back(source);
  if (motion.source && overlap(from.region, stage)) {
    plan.tensors.push_back(at::empty({static_cast<int64_t>(from.region.bytes())}, at::kByte));
    motion.detour = packed(plan.tensors.back().data_ptr(), from.region);
  }
  Signature signature{.kind = CallKind::kTpBroadcast,
                      .buffer = buffer,
                      .type = type,
                      .rows = from.rows,
                      .cols = from.cols,
                      .dtype = dtype_label(from.type)};
  if (motion.source) signature.route = motion.source->rank;
  // Where it is not known whose work has made the source, all work before must be done first.
  if (motion.source && !motion.maker_known) plan.motions.push_back(meet_first(signature));
  plan.motions.push_back({signature, [motion](int rank) { return motion.leg(rank); }});
  issuer_.issue(std::move(plan));
}

void TpContext::cross_device_barrier(int type, int t_device, int stage, int next_stage) {
  const Split& shares = split(kBarrier, "broadcast_type", type);
  PINNEDPG_CHECK(stage >= -1 && stage < kStages, kBarrier, ": stage must be -1 (the next one) or 0 to ", kStages - 1,
                 "; got ", stage);
  PINNEDPG_CHECK(next_stage >= -1 && next_stage < kStages, kBarrier, ": next_stage must be -1 (the one after) or 0 to ",
                 kStages - 1, "; got ", next_stage);
  Team& members = team(kBarrier, devices_of(shares), t_device);
  Plan plan{kBarrier, &members, t_device, {}, {}, {}};
  const Signature signature{
      .kind = CallKind::kTpCrossDeviceBarrier, .type = type, .stage = stage, .next_stage = next_stage};
  // To meet is enough: each stream goes on once all work queued before on every other is done.
  plan.motions.push_back({signature, [](int) { return meeting(); }});
  issuer_.issue(std::move(plan));
}

}  // namespace pinnedpg::tp
