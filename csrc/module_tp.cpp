// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The part of pinnedpg._C that pinnedpg/tp.py and tp_calls.py are the face of.
#include "module_tp.h"

#include "module_tp_arguments.h"
#include "tp/recording.h"
#include "tp/tp_context.h"

namespace pinnedpg {

namespace {

using tp::HostQueue;
using tp::Patience;
using tp::TensorList;
using tp::TpContext;

tp::Split split_of(const char* name, py::handle list) {
  constexpr const char* kFunction = "make_tp_context";
  tp::Split split;
  for (const py::object& item : items({kFunction, name}, list)) {
    const tp::Argument argument{kFunction, name, static_cast<int64_t>(split.size())};
    const std::vector<py::object> fields = items(argument, item);
    std::vector<std::optional<int64_t>> numbers;
    for (const py::object& field : fields) numbers.push_back(integer_if_any<int64_t>(field));
    const bool fits = numbers.size() == 3 && numbers[0] && numbers[1] && numbers[2];
    PINNEDPG_CHECK(fits && *numbers[0] >= 0 && *numbers[0] < tp::kMostUnits, argument,
                   " must be (device, begin, end), three ints; got ", shown(item));
    split.push_back({static_cast<int>(*numbers[0]), *numbers[1], *numbers[2]});
  }
  return split;
}

std::vector<uint64_t> streams_of(py::handle list) {
  std::vector<uint64_t> streams;
  for (const py::object& item : items({"make_tp_context", "streams"}, list)) {
    const auto handle = item.is_none() ? std::optional<uint64_t>(0) : integer_if_any<uint64_t>(item);
    PINNEDPG_CHECK(handle.has_value(), "make_tp_context: streams[", streams.size(),
                   "] must be 0, None, a HostStream or its handle; got ", shown(item));
    streams.push_back(*handle);
  }
  return streams;
}

uint64_t make_tp_context(py::handle kv, py::handle id, py::handle vc, py::handle rs, py::handle q,
                         py::handle pinned_temp, py::handle streams, py::handle multithreaded, py::handle timeout) {
  constexpr const char* kFunction = "make_tp_context";
  TpContext::Settings settings;
  settings.splits = {split_of("kv_split", kv), split_of("id_split", id), split_of("vc_split", vc),
                     split_of("rs_split", rs), split_of("q_split", q)};
  settings.buffers = tensors_of(kFunction, "pinned_temp", pinned_temp);
  settings.streams = streams_of(streams);
  settings.multithreaded = bool_of({kFunction, "multithreaded"}, multithreaded);
  settings.timeout = timeout_of(kFunction, timeout).value_or(settings.timeout);
  uint64_t handle = 0;
  without_gil([&] { handle = TpContext::make(std::move(settings)); });
  return handle;
}

void tp_broadcast(py::handle context, py::handle buffer, py::handle source, py::handle type, py::handle targets,
                  py::handle t_device) {
  constexpr const char* kFunction = "tp_broadcast";
  const uint64_t handle = handle_of(kFunction, context);
  const int index = int_of({kFunction, "buffer"}, buffer);
  const at::Tensor from = tensor_of({kFunction, "source"}, source);
  const int split = int_of({kFunction, "broadcast_type"}, type);
  const TensorList to = tensors_of(kFunction, "targets", targets);
  const int device = int_of({kFunction, "t_device"}, t_device);
  without_gil([&] { TpContext::find(kFunction, handle)->broadcast(index, from, split, to, device); });
}

void gather(const char* function, py::handle context, py::handle buffer, py::handle inputs, py::handle type,
            py::handle targets, py::handle type_target, py::handle dim, py::handle t_device, py::handle barrier) {
  const uint64_t handle = handle_of(function, context);
  const int index = int_of({function, "buffer"}, buffer);
  const TensorList from = tensors_of(function, "inputs", inputs);
  const int split = int_of({function, "broadcast_type"}, type);
  const int split_target = int_of({function, "broadcast_type_target"}, type_target);
  // Without a split for them, callers pass anything.
  const TensorList to = split_target >= 0 ? tensors_of(function, "targets", targets) : TensorList{};
  const int64_t columns = int64_of({function, "dim"}, dim);
  const int device = int_of({function, "t_device"}, t_device);
  tp::Barrier* const meets = barrier_of({function, "barrier"}, barrier);
  without_gil([&] {
    TpContext::find(function, handle)->gather(function, index, from, split, to, split_target, columns, device, meets);
  });
}

void tp_gather(py::handle context, py::handle buffer, py::handle inputs, py::handle type, py::handle targets,
               py::handle type_target, py::handle dim, py::handle t_device) {
  gather("tp_gather", context, buffer, inputs, type, targets, type_target, dim, t_device, py::none());
}

void tp_gather_barrier(py::handle context, py::handle buffer, py::handle inputs, py::handle type, py::handle targets,
                       py::handle type_target, py::handle dim, py::handle t_device, py::handle barrier) {
  gather("tp_gather_barrier", context, buffer, inputs, type, targets, type_target, dim, t_device, barrier);
}

void tp_all_reduce(py::handle context, py::handle buffer, py::handle tensors, py::handle residuals) {
  constexpr const char* kFunction = "tp_all_reduce";
  const uint64_t handle = handle_of(kFunction, context);
  const int index = int_of({kFunction, "buffer"}, buffer);
  const TensorList from = tensors_of(kFunction, "tensors", tensors);
  const TensorList to = tensors_of(kFunction, "residuals", residuals);
  without_gil([&] { TpContext::find(kFunction, handle)->all_reduce(index, from, to); });
}

void tp_cross_device_barrier(py::handle context, py::handle type, py::handle t_device, py::handle stage,
                             py::handle next_stage) {
  constexpr const char* kFunction = "tp_cross_device_barrier";
  const uint64_t handle = handle_of(kFunction, context);
  const int split = int_of({kFunction, "broadcast_type"}, type);
  const int device = int_of({kFunction, "t_device"}, t_device);
  const int now = int_of({kFunction, "stage"}, stage);
  const int next = int_of({kFunction, "next_stage"}, next_stage);
  without_gil([&] { TpContext::find(kFunction, handle)->cross_device_barrier(split, device, now, next); });
}

void tp_synchronize(py::handle context, py::handle buffer, py::handle timeout) {
  constexpr const char* kFunction = "tp_synchronize";
  const uint64_t handle = handle_of(kFunction, context);
  const int index = int_of({kFunction, "buffer"}, buffer);
  const Patience waits(timeout_of(kFunction, timeout));
  without_gil([&] { TpContext::find(kFunction, handle)->synchronize(index, waits); });
}

void tp_set_multithreaded(py::handle context, py::handle multithreaded) {
  constexpr const char* kFunction = "tp_set_multithreaded";
  const uint64_t handle = handle_of(kFunction, context);
  const bool on = bool_of({kFunction, "multithreaded"}, multithreaded);
  without_gil([&] { TpContext::find(kFunction, handle)->set_multithreaded(on); });
}

void free_tp_context(py::handle context) {
  const uint64_t handle = handle_of("free_tp_context", context);
  without_gil([&] { TpContext::free(handle); });
}

/// Before the interpreter goes: no thread of ours may want it any more, and none may be left with tensors of Python's.
void shut_down() {
  without_gil([] {
    constexpr std::chrono::milliseconds kLimit{5000};
    if (!Gate::instance().close()) return;
    TpContext::abandon_all("the interpreter shuts down");
    const Patience waits{kLimit};
    for (const auto& stream : HostQueue::all()) stream->wait(stream->pushed(), waits);
  });
}

}  // namespace

void bind_tp(py::module_& module) {
  bind_tp_streams(module);
  module.def("make_tp_context",
             [](py::handle kv, py::handle id, py::handle vc, py::handle rs, py::handle q, py::handle pinned_temp,
                py::handle streams, py::handle multithreaded, py::handle timeout) {
               return with_torch_errors(
                   [&] { return make_tp_context(kv, id, vc, rs, q, pinned_temp, streams, multithreaded, timeout); });
             });
  module.def("free_tp_context", with_errors(free_tp_context));
  module.def("tp_broadcast", with_errors(tp_broadcast));
  module.def("tp_gather", with_errors(tp_gather));
  module.def("tp_gather_barrier", with_errors(tp_gather_barrier));
  module.def("tp_cross_device_barrier", with_errors(tp_cross_device_barrier));
  module.def("tp_all_reduce", with_errors(tp_all_reduce));
  module.def("tp_synchronize", with_errors(tp_synchronize));
  module.def("tp_set_multithreaded", with_errors(tp_set_multithreaded));
  module.def("_shut_down_tp", &shut_down);
  // For the project's own tests.
  module.def("_record_tp", [](const std::vector<std::string>& program, int world_size, size_t slot_bytes,
                              uint32_t depth, bool two_lanes, size_t nbytes) {
    return with_torch_errors(
        [&] { return tp::record(program, {world_size, slot_bytes, depth, slot_bytes}, two_lanes, nbytes); });
  });
}

}  // namespace pinnedpg
