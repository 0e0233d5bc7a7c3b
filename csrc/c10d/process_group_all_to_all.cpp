// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The calls of ProcessGroupPinned with a part of its own for every pair of ranks.
#include <ATen/core/Tensor.h>

#include "c10d/errors.h"
#include "c10d/process_group.h"
#include "collective/collectives.h"

namespace pinnedpg {

using c10d::OpType;
using collectives::Seat;

namespace {

/// The rows of a tensor's dimension 0 as the parts that the splits name; equal parts where there are none.
Regions split_rows(const Region& whole, const at::Tensor& tensor, const std::vector<int64_t>& splits, int parts,
                   const char* what, Memory* memory) {
  if (splits.empty()) {
    PINNEDPG_CHECK(tensor.dim() > 0 && tensor.size(0) % parts == 0, "all_to_all: dimension 0 of the ", what,
                   " must divide by the world size ", parts, "; got shape ", tensor.sizes());
    return split_evenly(whole, parts, memory);
  }
  PINNEDPG_CHECK(splits.size() == static_cast<size_t>(parts), "all_to_all: there must be ", parts, " ", what,
                 " split sizes; got ", splits.size());
  int64_t rows = 0;
  for (const int64_t split : splits) {
    PINNEDPG_CHECK(split >= 0, "all_to_all: ", what, " split sizes must not be negative; got ", split);
    rows += split;
  }
  PINNEDPG_CHECK(tensor.dim() > 0 && rows == tensor.size(0), "all_to_all: the ", what,
                 " split sizes must add up to the rows of shape ", tensor.sizes(), "; got ", rows);
  const size_t row_bytes = rows == 0 ? 0 : whole.bytes() / static_cast<size_t>(rows);
  Regions regions(memory);
  size_t at = 0;
  for (const int64_t split : splits) {
    const size_t bytes = static_cast<size_t>(split) * row_bytes;
    regions.push_back(whole.cut(at, bytes));
    at += bytes;
  }
  return regions;
}

/// What all ranks send and expect: row r holds the bytes rank r sends to each rank, then those it expects of each.
struct Sizes {
  explicit Sizes(size_t ranks) : ranks(ranks), matrix(2 * ranks * ranks) {}

  uint64_t& sent(size_t from, size_t to) { return matrix[from * 2 * ranks + to]; }
  uint64_t& expected(size_t to, size_t from) { return matrix[to * 2 * ranks + ranks + from]; }
  Region row(size_t rank) { return Region::flat(&matrix[rank * 2 * ranks], 2 * ranks * sizeof(uint64_t)); }

  /// The largest part. Raises the same on every rank where two ranks do not agree: nothing has moved then.
  size_t check() {
    uint64_t largest = 0;
    for (size_t from = 0; from < ranks; ++from) {
      for (size_t to = 0; to < ranks; ++to) {
        PINNEDPG_CHECK(sent(from, to) == expected(to, from), "all_to_all: rank ", from, " sends ", sent(from, to),
                       " bytes to rank ", to, ", which expects ", expected(to, from));
        largest = std::max(largest, sent(from, to));
      }
    }
    return largest;
  }

  const size_t ranks;
  std::vector<uint64_t> matrix;
};

}  // namespace

ProcessGroupPinned::WorkPtr ProcessGroupPinned::exchange_all(Request& call, Regions inputs, Regions outputs,
                                                             bool even) {
  const Seat seat{getRank(), getSize()};
  if (even) {
    return run(call,
               [=, inputs = std::move(inputs), outputs = std::move(outputs)](const Geometry&, int, Memory* memory) {
                 return collectives::all_to_all(seat.in(memory), inputs, outputs, inputs[0].bytes());
               });
  }
  // No rank knows the sizes of the others' parts, hence how many steps there are: all tell all first.
  const auto rank = static_cast<size_t>(seat.rank), ranks = static_cast<size_t>(seat.world_size);
  auto sizes = std::make_shared<Sizes>(ranks);
  for (size_t peer = 0; peer < ranks; ++peer) {
    sizes->sent(rank, peer) = inputs[peer].bytes();
    sizes->expected(rank, peer) = outputs[peer].bytes();
  }
  call.label.layout = 1;
  call.label.count = 0;
  auto tell = [seat, sizes](const Geometry&, int, Memory* memory) {
    std::vector<Region> rows;
    for (size_t peer = 0; peer < sizes->ranks; ++peer) rows.push_back(sizes->row(peer));
    return collectives::all_gather(seat.in(memory), rows[static_cast<size_t>(seat.rank)], rows);
  };
  auto then = [=, told = false, inputs = std::move(inputs), outputs = std::move(outputs)](auto& legs) mutable {
    if (std::exchange(told, true)) return false;
    legs = {collectives::all_to_all(seat, inputs, outputs, sizes->check())};
    return true;
  };
  return run(call, tell, std::move(then));
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::alltoall(TensorList& outputs, TensorList& inputs,
                                                         const c10d::AllToAllOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kAllToAll, OpType::ALLTOALL, "pinned:all_to_all", opts.timeout, opts.asyncOp);
    const auto ranks = static_cast<size_t>(getSize());
    PINNEDPG_CHECK(inputs.size() == ranks && outputs.size() == ranks, "all_to_all: there must be ", ranks,
                   " inputs and outputs, one for each rank; got ", inputs.size(), " and ", outputs.size());
    Regions from(call.memory), to(call.memory);
    for (const auto& output : outputs) to.push_back(call.tensors.output(output));
    for (const auto& input : inputs) {
      from.push_back(call.tensors.input(input));
      for (const Region& output : to) {
        if (overlap(output, from.back())) from.back() = call.tensors.copied_input(input);
      }
    }
    call.inputs = inputs;
    call.outputs = outputs;
    return exchange_all(call, std::move(from), std::move(to), false);
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::alltoall_base(at::Tensor& output, at::Tensor& input,
                                                              std::vector<int64_t>& output_splits,
                                                              std::vector<int64_t>& input_splits,
                                                              const c10d::AllToAllOptions& opts) {
  return guarded([&] {
    auto call =
        request(CallKind::kAllToAll, OpType::ALLTOALL_BASE, "pinned:all_to_all_single", opts.timeout, opts.asyncOp);
    const Region to = call.tensors.output(output);
    Region from = call.tensors.input(input);
    if (overlap(from, to)) from = call.tensors.copied_input(input);
    const bool even = input_splits.empty() && output_splits.empty();
    PINNEDPG_CHECK(!even || input.numel() == output.numel(), "all_to_all: the output must have the input's ",
                   input.numel(), " elements; got ", output.numel());
    call.label.count = static_cast<uint64_t>(input.numel());
    call.tell(input, output);
    return exchange_all(call, split_rows(from, input, input_splits, getSize(), "input", call.memory),
                        split_rows(to, output, output_splits, getSize(), "output", call.memory), even);
  });
}

}  // namespace pinnedpg
