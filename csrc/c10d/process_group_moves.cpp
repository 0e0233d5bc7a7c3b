// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The calls of ProcessGroupPinned that move tensors: broadcast, gathers, scatter, all_to_all.
#include <ATen/ATen.h>

#include "c10d/errors.h"
#include "c10d/process_group.h"
#include "collective/collectives.h"

namespace pinnedpg {

using c10d::OpType;
using collectives::Seat;

namespace {

/// Whether a gather would overwrite its input before it is read: it may be the own output itself, and nothing else.
bool clobbers(std::span<const Region> outputs, size_t own, const Region& input) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (i == own ? overlap_partly(outputs[i], input) : overlap(outputs[i], input)) return true;
  }
  return false;
}

}  // namespace

ProcessGroupPinned::WorkPtr ProcessGroupPinned::broadcast(TensorList& tensors, const c10d::BroadcastOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kBroadcast, OpType::BROADCAST, "pinned:broadcast", opts.timeout, opts.asyncOp);
    PINNEDPG_CHECK(!tensors.empty(), "broadcast: there must be a tensor; got an empty list");
    call.label.tensors = check_length(call, tensors.size());
    const int root = check_root(call, opts.rootRank, opts.rootTensor, tensors.size());
    Regions regions(call.memory);
    for (const auto& tensor : tensors) {
      regions.push_back(call.tensors.input_output(tensor));
      PINNEDPG_CHECK(tensor.numel() == tensors[0].numel(), "broadcast: all tensors must have ", tensors[0].numel(),
                     " elements; got ", tensor.numel());
    }
    check_apart("broadcast", regions);
    call.label.root = root;
    call.label.count = static_cast<uint64_t>(tensors[0].numel());
    call.tell(tensors, tensors);
    const Seat first{getRank() * static_cast<int>(tensors.size()), getSize() * static_cast<int>(tensors.size())};
    return run(call, [=, regions = std::move(regions)](const Geometry&, int member, Memory* memory) {
      return collectives::broadcast({first.rank + member, first.world_size, memory}, root,
                                    regions[static_cast<size_t>(member)]);
    });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::allgather(std::vector<TensorList>& outputs, TensorList& inputs,
                                                          const c10d::AllgatherOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kAllGather, OpType::ALLGATHER, "pinned:all_gather", opts.timeout, opts.asyncOp);
    const size_t lists = inputs.size(), members = lists * static_cast<size_t>(getSize());
    PINNEDPG_CHECK(lists > 0 && outputs.size() == lists, "all_gather: there must be a list of outputs for each of the ",
                   lists, " inputs; got ", outputs.size(), " lists");
    std::vector<std::vector<Region>> to(lists);
    std::vector<Region> from;
    for (size_t i = 0; i < lists; ++i) {
      PINNEDPG_CHECK(outputs[i].size() == members, "all_gather: there must be ", members,
                     " outputs, one of each rank; got ", outputs[i].size());
      for (const auto& output : outputs[i]) to[i].push_back(call.tensors.output(output));
      from.push_back(call.tensors.input(inputs[i]));
      const size_t own = static_cast<size_t>(getRank()) * lists + i;
      PINNEDPG_CHECK(to[0][own].bytes() == from[i].bytes(), "all_gather: output ", own, " must have the input's ",
                     from[i].bytes(), " bytes; got ", to[0][own].bytes());
      PINNEDPG_CHECK(hash_layout(to[i]) == hash_layout(to[0]),
                     "all_gather: all lists of outputs must have equal sizes");
    }
    for (size_t i = 0; i < lists; ++i) {
      const size_t own = static_cast<size_t>(getRank()) * lists + i;
      for (const auto& list : to) {
        if (clobbers(list, own, from[i])) from[i] = call.tensors.copied_input(inputs[i]);
      }
    }
    call.label.tensors = check_length(call, lists);
    call.label.layout = hash_layout(to[0]);
    for (const auto& output : outputs[0]) call.label.count += static_cast<uint64_t>(output.numel());
    call.inputs = inputs;
    for (const auto& list : outputs) call.outputs.insert(call.outputs.end(), list.begin(), list.end());
    const Seat first{getRank() * static_cast<int>(lists), static_cast<int>(members)};
    return run(call, [=, from = std::move(from), to = std::move(to)](const Geometry&, int member, Memory* memory) {
      const auto i = static_cast<size_t>(member);
      return collectives::all_gather({first.rank + member, first.world_size, memory}, from[i], to[i]);
    });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                                const c10d::AllgatherOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kAllGather, OpType::_ALLGATHER_BASE, "pinned:all_gather_into_tensor", opts.timeout,
                        opts.asyncOp);
    const Region whole = call.tensors.output(output);
    Region from = call.tensors.input(input);
    PINNEDPG_CHECK(output.numel() == input.numel() * getSize(), "all_gather: the output must have ", getSize(), " x ",
                   input.numel(), " elements; got ", output.numel());
    Regions to = split_evenly(whole, getSize(), call.memory);
    if (clobbers(to, static_cast<size_t>(getRank()), from)) from = call.tensors.copied_input(input);
    call.label.count = static_cast<uint64_t>(output.numel());
    call.tell(input, output);
    return run(call,
               [seat = Seat{getRank(), getSize()}, from, to = std::move(to)](const Geometry&, int, Memory* memory) {
                 return collectives::all_gather(seat.in(memory), from, to);
               });
  });
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::gather(std::vector<TensorList>& outputs, TensorList& inputs,
                                                       const c10d::GatherOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kGather, OpType::GATHER, "pinned:gather", opts.timeout, opts.asyncOp);
    PINNEDPG_CHECK(inputs.size() == 1, "gather: there must be one input; got ", inputs.size(),
                   ". Make a call for each");
    const int root = check_root(call, opts.rootRank, 0, 1);
    const bool at_root = root == getRank();
    PINNEDPG_CHECK(outputs.size() == (at_root ? 1 : 0), "gather: there must be ", at_root ? "one list" : "no list",
                   " of outputs at rank ", getRank(), "; got ", outputs.size());
    Region from = call.tensors.input(inputs[0]);
    std::vector<Region> to;
    if (at_root) {
      PINNEDPG_CHECK(outputs[0].size() == static_cast<size_t>(getSize()), "gather: there must be ", getSize(),
                     " outputs, one of each rank; got ", outputs[0].size());
      for (const auto& output : outputs[0]) {
        to.push_back(call.tensors.output(output));
        PINNEDPG_CHECK(to.back().bytes() == from.bytes(), "gather: every output must have the input's ", from.bytes(),
                       " bytes; got ", to.back().bytes());
      }
      if (clobbers(to, static_cast<size_t>(root), from)) from = call.tensors.copied_input(inputs[0]);
      call.outputs = outputs[0];
    }
    call.label.root = root;
    call.label.count = static_cast<uint64_t>(inputs[0].numel());
    call.inputs = inputs;
    return run(call, [seat = Seat{getRank(), getSize()}, root, from, to = std::move(to)](const Geometry&, int,
                                                                                         Memory* memory) {
      return collectives::gather(seat.in(memory), root, from, to);
    });
  });
}

#ifdef PINNEDPG_TORCH_HAS_GATHER_SINGLE
ProcessGroupPinned::WorkPtr ProcessGroupPinned::gather_single(at::Tensor& output, at::Tensor& input,
                                                              const c10d::GatherOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kGather, OpType::GATHER, "pinned:gather_single", opts.timeout, opts.asyncOp);
    const int root = check_root(call, opts.rootRank, 0, 1);
    Region from = call.tensors.input(input);
    Regions to(call.memory);
    if (root == getRank()) {
      const Region whole = call.tensors.output(output);
      PINNEDPG_CHECK(output.numel() == input.numel() * getSize(), "gather: the output must have ", getSize(), " x ",
                     input.numel(), " elements; got ", output.numel());
      to = split_evenly(whole, getSize());
      if (clobbers(to, static_cast<size_t>(root), from)) from = call.tensors.copied_input(input);
      call.outputs = {output};
    }
    call.label.root = root;
    call.label.count = static_cast<uint64_t>(input.numel());
    call.inputs = {input};
    return run(call, [seat = Seat{getRank(), getSize()}, root, from, to = std::move(to)](const Geometry&, int,
                                                                                         Memory* memory) {
      return collectives::gather(seat.in(memory), root, from, to);
    });
  });
}
#endif

ProcessGroupPinned::WorkPtr ProcessGroupPinned::scatter(TensorList& outputs, std::vector<TensorList>& inputs,
                                                        const c10d::ScatterOptions& opts) {
  return guarded([&] {
    auto call = request(CallKind::kScatter, OpType::SCATTER, "pinned:scatter", opts.timeout, opts.asyncOp);
    PINNEDPG_CHECK(outputs.size() == 1, "scatter: there must be one output; got ", outputs.size(),
                   ". Make a call for each");
    const int root = check_root(call, opts.rootRank, 0, 1);
    const bool at_root = root == getRank();
    PINNEDPG_CHECK(inputs.size() == (at_root ? 1 : 0), "scatter: there must be ", at_root ? "one list" : "no list",
                   " of inputs at rank ", getRank(), "; got ", inputs.size());
    const Region to = call.tensors.output(outputs[0]);
    std::vector<Region> from;
    if (at_root) {
      PINNEDPG_CHECK(inputs[0].size() == static_cast<size_t>(getSize()), "scatter: there must be ", getSize(),
                     " inputs, one for each rank; got ", inputs[0].size());
      for (const auto& input : inputs[0]) {
        from.push_back(call.tensors.input(input));
        PINNEDPG_CHECK(from.back().bytes() == to.bytes(), "scatter: every input must have the output's ", to.bytes(),
                       " bytes; got ", from.back().bytes());
        if (overlap_partly(from.back(), to)) from.back() = call.tensors.copied_input(input);
      }
      call.inputs = inputs[0];
    }
    call.label.root = root;
    call.label.count = static_cast<uint64_t>(outputs[0].numel());
    call.outputs = outputs;
    return run(call, [seat = Seat{getRank(), getSize()}, root, from = std::move(from), to](const Geometry&, int,
                                                                                           Memory* memory) {
      return collectives::scatter(seat.in(memory), root, from, to);
    });
  });
}

}  // namespace pinnedpg
