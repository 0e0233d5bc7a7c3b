// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// From arguments to a plan: tp_all_reduce.
#include "base/check.h"
#include "torch_glue/reduce_dtype.h"
#include "torch_glue/torch_streams.h"
#include "tp/tp_context.h"

namespace pinnedpg::tp {

namespace {

constexpr const char* kFunction = "tp_all_reduce";

std::vector<Matrix> check_alike_all(const char* name, std::vector<Matrix> matrices, const Matrix& reference) {
  for (size_t i = 0; i < matrices.size(); ++i) {
    const Argument argument{kFunction, name, static_cast<int64_t>(i)};
    check_alike(argument, matrices[i], "tensors[0]", reference);
    PINNEDPG_CHECK(matrices[i].region.is_flat() || matrices[i].region.bytes() == 0, argument,
                   " must be contiguous; got rows ", matrices[i].region.pitch, " bytes apart of ",
                   matrices[i].region.row_bytes, " bytes each");
  }
  return matrices;
}

/// Tensors and residuals are read and written chunk by chunk: they may be the same one, but not lie across one another.
void check_apart(const std::vector<Matrix>& tensors, const std::vector<Matrix>& residuals) {
  for (size_t i = 0; i < residuals.size(); ++i) {
    const Region& residual = residuals[i].region;
    const auto check = [&](const char* name, size_t j, const Region& other) {
      PINNEDPG_CHECK(!overlap(residual, other) || same_place(residual, other),
                     Argument{kFunction, "residuals", static_cast<int64_t>(i)}, " must not overlap ", name, "[", j,
                     "] unless it is the same tensor");
    };
    for (size_t j = 0; j < tensors.size(); ++j) check("tensors", j, tensors[j].region);
    for (size_t j = 0; j < i; ++j) check("residuals", j, residuals[j].region);
  }
}

Reduction sum_of(const Matrix& matrix) {
  const std::optional<DType> dtype = dtype_of(matrix.type);
  const Reduction reduction{dtype.value_or(DType::kBool), ReduceOp::kSum};
  PINNEDPG_CHECK(dtype && can_reduce(reduction), kFunction, ": tensors[0] must be of a type that can be summed; got ",
                 type_name(matrix.type));
  return reduction;
}

std::vector<Placed> place_on(const std::vector<int>& owners, const std::vector<Matrix>& matrices, const Team& team) {
  std::vector<Placed> placed;
  for (size_t i = 0; i < matrices.size(); ++i) {
    placed.push_back({team.rank_of(owners[i]), Region::flat(matrices[i].region.data, matrices[i].region.bytes())});
  }
  return placed;
}

}  // namespace

std::vector<int> TpContext::owners(const TensorList& tensors) const {
  const size_t count = tensors.size();
  if (issuer_.on_gpus() && gpu_of(tensors[0]) >= 0) {
    std::vector<int> devices;
    for (size_t i = 0; i < count; ++i) {
      devices.push_back(gpu_of(tensors[i]));
      PINNEDPG_CHECK(issuer_.has(devices[i]), Argument{kFunction, "tensors", static_cast<int64_t>(i)},
                     " must be on a device of the context, one of ", Listed{issuer_.devices()}, "; got one on ",
                     tensors[i].device());
    }
    return devices;
  }
  // Host tensors do not say whose they are. It decides only who does the work: all devices meet before and after it.
  for (const SplitType type : {SplitType::kRs, SplitType::kId, SplitType::kKv, SplitType::kQ, SplitType::kVc}) {
    const Split& shares = splits_[static_cast<size_t>(type)];
    if (shares.size() != count) continue;
    std::vector<int> devices;
    for (const Share& share : shares) devices.push_back(share.device);
    return devices;
  }
  const std::vector<int>& devices = issuer_.devices();
  PINNEDPG_CHECK(count <= devices.size(), kFunction, ": tensors must be at most as many as the context's devices, ",
                 devices.size(), ", or as the shares of one of its splits; got ", count);
  return {devices.begin(), devices.begin() + static_cast<std::ptrdiff_t>(count)};
}

void TpContext::all_reduce(int buffer, const TensorList& tensors, const TensorList& residuals) {
  check_buffer(kFunction, buffer);
  PINNEDPG_CHECK(!tensors.empty(), kFunction, ": tensors must not be empty");
  PINNEDPG_CHECK(residuals.size() == tensors.size(), kFunction, ": residuals must have as many entries as tensors, ",
                 tensors.size(), "; got ", residuals.size());
  PINNEDPG_CHECK(tensors[0].defined(), kFunction, ": tensors[0] must be a tensor; got None");
  const std::vector<int> devices = owners(tensors), gpus = places(devices);
  const Matrix first = matrix_of({kFunction, "tensors", 0}, tensors[0], gpus[0]);
  std::vector<Matrix> sources;
  for (size_t i = 0; i < tensors.size(); ++i) {
    sources.push_back(matrix_of({kFunction, "tensors", static_cast<int64_t>(i)}, tensors[i], gpus[i]));
  }
  sources = check_alike_all("tensors", std::move(sources), first);
  const auto sums = check_alike_all("residuals", written_matrices_of(kFunction, "residuals", residuals, gpus), first);
  check_apart(sources, sums);
  check_fits(kFunction, buffer, "each tensor", first.region.bytes());

  Team& members = team(kFunction, {}, -1);
  const AllReduce motion{sum_of(first), place_on(devices, sources, members), place_on(devices, sums, members)};
  PINNEDPG_CHECK(!issuer_.on_gpus() || tensors.size() < kCudaSources, kFunction, ": tensors must be fewer than ",
                 kCudaSources, "; got ", tensors.size());
  PINNEDPG_CHECK(static_cast<size_t>(motion.shard_count()) * 64 <= members.geometry().slot_bytes, kFunction,
                 ": tensors must be at most ", members.geometry().slot_bytes / 64 - 1, " of one device; got ",
                 motion.shard_count() - 1);
  sources.insert(sources.end(), sums.begin(), sums.end());
  Plan plan{kFunction, &members, -1, {}, buffers_under(-1, sources), tensors};
  plan.tensors.insert(plan.tensors.end(), residuals.begin(), residuals.end());
  Signature signature{.kind = CallKind::kTpAllReduce,
                      .buffer = buffer,
                      .rows = first.rows,
                      .cols = first.cols,
                      .dtype = dtype_label(first.type)};
  plan.motions.push_back({signature, [](int) { return meeting(); }});
  signature.part = 1;
  plan.motions.push_back({signature, [motion](int rank) { return motion.leg(rank); }});
  signature.part = 2;
  if (motion.has_copies()) plan.motions.push_back({signature, [motion](int rank) { return motion.copies(rank); }});
  issuer_.issue(std::move(plan));
}

}  // namespace pinnedpg::tp
