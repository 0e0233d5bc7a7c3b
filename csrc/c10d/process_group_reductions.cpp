// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The calls of ProcessGroupPinned that reduce: all_reduce, reduce, reduce_scatter.
#include "c10d/errors.h"
#include "c10d/process_group.h"
#include "collective/collectives.h"

namespace pinnedpg {

using c10d::OpType;
using collectives::Seat;

namespace {

Reduction reduction_of(const Label& label, at::ScalarType type) {
  return {*dtype_of(type), static_cast<ReduceOp>(label.reduces - 1)};
}

}  // namespace

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allreduce(TensorList& tensors, const c10d::AllreduceOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kAllReduce, OpType::ALLREDUCE, "pinned:all_reduce", opts.timeout, opts.asyncOp);
    PINNEDPG_CHECK(!tensors.empty(), "all_reduce: there must be a tensor; got an empty list");
    if (tensors[0].is_sparse()) return allreduce_sparse(tensors, opts);  // torch calls that for CUDA alone
    call.label.tensors = check_length(call, tensors.size());
    Regions regions(call.memory);
    for (const auto& tensor : tensors) {
      regions.push_back(call.tensors.input_output(tensor));
      PINNEDPG_CHECK(tensor.numel() == tensors[0].numel(), "all_reduce: all tensors must have ", tensors[0].numel(),
                     " elements; got ", tensor.numel());
    }
    check_apart(call.label.name(), regions);
    label_reduction(call, opts.reduceOp);
    call.label.count = static_cast<uint64_t>(tensors[0].numel());
    call.tell(tensors, tensors);
    const Reduction reduction = reduction_of(call.label, call.tensors.type());
    const Seat first{getRank() * static_cast<int>(tensors.size()), getSize() * static_cast<int>(tensors.size())};
    return run(call, [=, regions = std::move(regions)](const Geometry& geometry, int member, Memory* memory) {
      return collectives::all_reduce({first.rank + member, first.world_size, memory},
                                     regions[static_cast<size_t>(member)], reduction, geometry.one_shot_bytes);
    });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::reduce(TensorList& tensors, const c10d::ReduceOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kReduce, OpType::REDUCE, "pinned:reduce", opts.timeout, opts.asyncOp);
    PINNEDPG_CHECK(!tensors.empty(), "reduce: there must be a tensor; got an empty list");
    call.label.tensors = check_length(call, tensors.size());
    const int root = check_root(call, opts.rootRank, opts.rootTensor, tensors.size());
    const Seat first{getRank() * static_cast<int>(tensors.size()), getSize() * static_cast<int>(tensors.size())};
    Regions regions(call.memory);
    for (size_t i = 0; i < tensors.size(); ++i) {
      // Only the root's tensor is written: the others keep what they hold.
      const bool at_root = first.rank + static_cast<int>(i) == root;
      regions.push_back(at_root ? call.tensors.input_output(tensors[i]) : call.tensors.input(tensors[i]));
      PINNEDPG_CHECK(tensors[i].numel() == tensors[0].numel(), "reduce: all tensors must have ", tensors[0].numel(),
                     " elements; got ", tensors[i].numel());
    }
    check_apart(call.label.name(), regions);
    label_reduction(call, opts.reduceOp);
    call.label.root = root;
    call.label.count = static_cast<uint64_t>(tensors[0].numel());
    call.tell(tensors, tensors);
    const Reduction reduction = reduction_of(call.label, call.tensors.type());
    return run(call, [=, regions = std::move(regions)](const Geometry&, int member, Memory* memory) {
      const Region& region = regions[static_cast<size_t>(member)];
      return collectives::reduce({first.rank + member, first.world_size, memory}, root, region, region, reduction);
    });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::reduce_scatter(TensorList& outputs, std::vector<TensorList>& inputs,
                                                               const c10d::ReduceScatterOptions& opts) {
  return guarded([&] {
    auto call =
        request(CallKind::kReduceScatter, OpType::REDUCE_SCATTER, "pinned:reduce_scatter", opts.timeout, opts.asyncOp);
    const size_t lists = outputs.size(), members = lists * static_cast<size_t>(getSize());
    PINNEDPG_CHECK(lists > 0 && inputs.size() == lists,
                   "reduce_scatter: there must be a list of inputs for each of the ", lists, " outputs; got ",
                   inputs.size(), " lists");
    std::vector<Region> to;
    std::vector<std::vector<Region>> from(lists);
    for (const auto& output : outputs) to.push_back(call.tensors.output(output));
    for (size_t i = 0; i < lists; ++i) {
      PINNEDPG_CHECK(inputs[i].size() == members, "reduce_scatter: there must be ", members,
                     " inputs, one for each rank; got ", inputs[i].size());
      for (const auto& input : inputs[i]) {
        from[i].push_back(call.tensors.input(input));
        for (const Region& output : to) {
          // With several members, one's result may be what another has yet to read as its own.
          if (lists > 1 ? overlap(output, from[i].back()) : overlap_partly(output, from[i].back()))
            from[i].back() = call.tensors.copied_input(input);
        }
      }
      const size_t own = static_cast<size_t>(getRank()) * lists + i;
      PINNEDPG_CHECK(from[0][own].bytes() == to[i].bytes(), "reduce_scatter: input ", own, " must have the output's ",
                     to[i].bytes(), " bytes; got ", from[0][own].bytes());
      PINNEDPG_CHECK(hash_layout(from[i]) == hash_layout(from[0]),
                     "reduce_scatter: all lists of inputs must have equal sizes");
    }
    label_reduction(call, opts.reduceOp);
    call.label.tensors = check_length(call, lists);
    call.label.layout = hash_layout(from[0]);
    for (const auto& input : inputs[0]) call.label.count += static_cast<uint64_t>(input.numel());
    for (const auto& list : inputs) call.inputs.insert(call.inputs.end(), list.begin(), list.end());
    call.outputs = outputs;
    const Reduction reduction = reduction_of(call.label, call.tensors.type());
    const Seat first{getRank() * static_cast<int>(lists), static_cast<int>(members)};
    return run(call, [=, from = std::move(from), to = std::move(to)](const Geometry&, int member, Memory* memory) {
      const auto i = static_cast<size_t>(member);
      return collectives::reduce_scatter({first.rank + member, first.world_size, memory}, from[i], to[i], reduction);
    });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                                     const c10d::ReduceScatterOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kReduceScatter, OpType::_REDUCE_SCATTER_BASE, "pinned:reduce_scatter_tensor",
                        opts.timeout, opts.asyncOp);
    const Region to = call.tensors.output(output);
    Region whole = call.tensors.input(input);
    PINNEDPG_CHECK(input.numel() == output.numel() * getSize(), "reduce_scatter: the input must have ", getSize(),
                   " x ", output.numel(), " elements; got ", input.numel());
    const Region own = whole.cut(static_cast<size_t>(getRank()) * to.bytes(), to.bytes());
    if (overlap(whole, to) && to.data != own.data) whole = call.tensors.copied_input(input);
    label_reduction(call, opts.reduceOp);
    call.label.count = static_cast<uint64_t>(input.numel());
    call.tell(input, output);
    const Reduction reduction = reduction_of(call.label, call.tensors.type());
    return run(call, [=, seat = Seat{getRank(), getSize()}](const Geometry&, int, Memory* memory) {
      return collectives::reduce_scatter(seat.in(memory), split_evenly(whole, seat.world_size, memory), to, reduction);
    });
  });
}

}  // namespace pinnedpg
