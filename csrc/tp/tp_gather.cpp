// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// From arguments to a plan: tp_gather and tp_gather_barrier.
#include <algorithm>

#include "base/check.h"
#include "torch_glue/reduce_dtype.h"
#include "tp/tp_context.h"

namespace pinnedpg::tp {

namespace {

/// What `broadcast_type_target` says beside the name of a split.
constexpr int kNoTarget = -1;
constexpr int kNoBarrier = -2;

std::vector<Matrix> check_inputs(const char* function, const TensorList& inputs, const Split& shares,
                                 const std::vector<int>& places, int64_t dim) {
  PINNEDPG_CHECK(dim >= 1 && dim <= kMostUnits, function, ": dim must be from 1 to ", kMostUnits, "; got ", dim);
  std::vector<Matrix> matrices;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Argument argument{function, "inputs", static_cast<int64_t>(i)};
    matrices.push_back(matrix_of(argument, inputs[i], places[i]));
    check_type(argument, matrices[i], "inputs[0]", matrices[0].type);
    PINNEDPG_CHECK(matrices[i].rows == matrices[0].rows, argument, " must have ", matrices[0].rows,
                   " rows like inputs[0]; got ", matrices[i].rows);
    const int64_t units = shares[i].end - shares[i].begin;
    PINNEDPG_CHECK(matrices[i].cols == units * dim, argument, " must have ", units * dim, " columns (", units,
                   " units of its share, times dim ", dim, "); got ", matrices[i].cols);
  }
  return matrices;
}

/// The gathered matrix, without a place. Its size may be any, since inputs may be views that repeat one row.
Matrix whole_of(const char* function, const Matrix& first, int64_t cols) {
  Matrix whole{{}, first.rows, cols, first.type};
  size_t row_bytes = 0, bytes = 0;
  const bool overflows = __builtin_mul_overflow(static_cast<size_t>(cols), whole.element_bytes(), &row_bytes) ||
                         __builtin_mul_overflow(row_bytes, static_cast<size_t>(first.rows), &bytes);
  PINNEDPG_CHECK(!overflows, function, ": the gathered matrix must be of a size that can be counted; got ", first.rows,
                 " rows of ", cols, " columns");
  whole.region = {nullptr, row_bytes, static_cast<size_t>(first.rows), row_bytes};
  return whole;
}

/// What the legs do. With a host barrier the copies are a motion of their own, so that host threads can meet between.
std::vector<Motion> motions_of(const Gather& gather, Signature signature, bool has_host_barrier) {
  if (signature.type_target == kNoBarrier) {
    return {{signature, [gather](int rank) { return gather.puts(rank, false); }}};
  }
  if (!has_host_barrier) return {{signature, [gather](int rank) { return gather.leg(rank); }}};
  Signature second = signature;
  signature.part = 1;
  second.part = 2;
  return {{signature, [gather](int rank) { return gather.puts(rank, false); }},
          {second, [gather](int rank) { return gather.gets(rank); }}};
}

void check_clear_all(const char* function, const char* name, const std::vector<Matrix>& matrices, const Region& stage,
                     const std::vector<Region>& own_places, int buffer) {
  for (size_t i = 0; i < matrices.size(); ++i) {
    check_clear({function, name, static_cast<int64_t>(i)}, matrices[i], stage, own_places[i], buffer);
  }
}

}  // namespace

void TpContext::gather(const char* function, int buffer, const TensorList& inputs, int type, const TensorList& targets,
                       int type_target, int64_t dim, int t_device, Barrier* barrier) {
  const Split& shares = split(function, "broadcast_type", type);
  check_buffer(function, buffer);
  check_length({function, "inputs"}, inputs, shares.size(), type);
  std::vector<Matrix> matrices = check_inputs(function, inputs, shares, places(shares), dim);
  Matrix whole = whole_of(function, matrices[0], shares.back().end * dim);
  check_fits(function, buffer, "the gathered matrix", whole.region.bytes());
  whole.region.data = buffers_[static_cast<size_t>(buffer)].data;
  const auto bands = Gather::cut(whole.region, shares, static_cast<size_t>(dim) * whole.element_bytes());
  check_clear_all(function, "inputs", matrices, whole.region, bands, buffer);

  const bool has_targets = type_target != kNoTarget && type_target != kNoBarrier;
  const Split target_shares = has_targets ? split(function, "broadcast_type_target", type_target) : Split{};
  const std::vector<Matrix> outputs =
      has_targets ? check_outputs(function, targets, type_target, whole) : std::vector<Matrix>{};
  check_clear_all(function, "targets", outputs, whole.region, std::vector<Region>(outputs.size(), whole.region),
                  buffer);

  Split all_shares = shares;
  all_shares.insert(all_shares.end(), target_shares.begin(), target_shares.end());
  Team& members = team(function, devices_of(all_shares), t_device);
  const Gather motion{whole.region, bands, place(matrices, shares, members), place(outputs, target_shares, members)};
  matrices.insert(matrices.end(), outputs.begin(), outputs.end());
  Plan plan{function, &members, t_device, {}, buffers_under(buffer, matrices), inputs};
  plan.tensors.insert(plan.tensors.end(), targets.begin(), targets.end());
  if (type_target != kNoBarrier) plan.barrier = barrier;
  const Signature signature{.kind = CallKind::kTpGather,
                            .buffer = buffer,
                            .type = type,
                            .type_target = type_target,
                            .rows = whole.rows,
                            .cols = whole.cols,
                            .dtype = dtype_label(whole.type)};
  plan.motions = motions_of(motion, signature, plan.barrier != nullptr);
  issuer_.issue(std::move(plan));
}

std::vector<Matrix> TpContext::check_outputs(const char* function, const TensorList& targets, int type_target,
                                             const Matrix& whole) const {
  const Split& shares = split(function, "broadcast_type_target", type_target);
  check_length({function, "targets"}, targets, shares.size(), type_target);
  std::vector<Matrix> outputs = written_matrices_of(function, "targets", targets, places(shares));
  for (size_t i = 0; i < outputs.size(); ++i) {
    check_alike({function, "targets", static_cast<int64_t>(i)}, outputs[i], "the gathered matrix", whole);
  }
  return outputs;
}

}  // namespace pinnedpg::tp
