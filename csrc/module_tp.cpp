// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// pinnedpg._C.tp: what pinnedpg/tp.py is the face of.
#include "module_tp.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include "tp/recording.h"
#include "tp/tp_context.h"

namespace pinnedpg {

namespace {

using tp::Barrier;
using tp::HostQueue;
using tp::Patience;
using tp::TensorList;
using tp::TpContext;

/// An int or what stands for one (a HostStream); nothing if it is none, or does not fit.
template <typename Integer>
std::optional<Integer> integer(py::handle object) {
  const auto index =
      py::reinterpret_steal<py::object>(PyIndex_Check(object.ptr()) ? PyNumber_Index(object.ptr()) : nullptr);
  try {
    if (index) return index.cast<Integer>();
  } catch (const py::cast_error&) {
  }
  PyErr_Clear();
  return std::nullopt;
}

uint64_t handle_of(py::handle object) { return integer<uint64_t>(object).value_or(0); }

std::vector<py::object> items(const tp::Argument& argument, py::handle list) {
  PINNEDPG_CHECK(py::isinstance<py::sequence>(list) && !py::isinstance<py::str>(list) && !THPVariable_Check(list.ptr()),
                 argument, " must be a list; got ", shown(list));
  std::vector<py::object> objects;
  for (const py::handle item : list) objects.push_back(py::reinterpret_borrow<py::object>(item));
  return objects;
}

at::Tensor tensor_of(const tp::Argument& argument, py::handle object) {
  PINNEDPG_CHECK(THPVariable_Check(object.ptr()), argument, " must be a tensor; got ", shown(object));
  return THPVariable_Unpack(object.ptr());
}

TensorList tensors_of(const char* function, const char* name, py::handle list) {
  TensorList tensors;
  for (const py::object& item : items({function, name}, list)) {
    tensors.push_back(tensor_of({function, name, static_cast<int64_t>(tensors.size())}, item));
  }
  return tensors;
}

tp::Split split_of(const char* name, py::handle list) {
  constexpr const char* kFunction = "make_tp_context";
  tp::Split split;
  for (const py::object& item : items({kFunction, name}, list)) {
    const tp::Argument argument{kFunction, name, static_cast<int64_t>(split.size())};
    const std::vector<py::object> fields = items(argument, item);
    std::vector<std::optional<int64_t>> numbers;
    for (const py::object& field : fields) numbers.push_back(integer<int64_t>(field));
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
    const auto handle = item.is_none() ? std::optional<uint64_t>(0) : integer<uint64_t>(item);
    PINNEDPG_CHECK(handle.has_value(), "make_tp_context: streams[", streams.size(),
                   "] must be 0, None, a HostStream or its handle; got ", shown(item));
    streams.push_back(*handle);
  }
  return streams;
}

uint64_t make_tp_context(py::handle kv, py::handle id, py::handle vc, py::handle rs, py::handle q,
                         py::handle pinned_temp, py::handle streams, bool multithreaded,
                         std::optional<double> timeout) {
  TpContext::Settings settings;
  settings.splits = {split_of("kv_split", kv), split_of("id_split", id), split_of("vc_split", vc),
                     split_of("rs_split", rs), split_of("q_split", q)};
  settings.buffers = tensors_of("make_tp_context", "pinned_temp", pinned_temp);
  settings.streams = streams_of(streams);
  settings.multithreaded = multithreaded;
  if (timeout) settings.timeout = milliseconds("make_tp_context", *timeout);
  uint64_t handle = 0;
  without_gil([&] { handle = TpContext::make(std::move(settings)); });
  return handle;
}

void tp_broadcast(py::handle context, int buffer, py::handle source, int type, py::handle targets, int t_device) {
  const uint64_t handle = handle_of(context);
  const at::Tensor from = tensor_of({"tp_broadcast", "source"}, source);
  const TensorList to = tensors_of("tp_broadcast", "targets", targets);
  without_gil([&] { TpContext::find("tp_broadcast", handle)->broadcast(buffer, from, type, to, t_device); });
}

void tp_gather(py::handle context, int buffer, py::handle inputs, int type, py::handle targets, int type_target,
               int64_t dim, int t_device, Barrier* barrier) {
  const char* function = barrier == nullptr ? "tp_gather" : "tp_gather_barrier";
  const uint64_t handle = handle_of(context);
  const TensorList from = tensors_of(function, "inputs", inputs);
  // Without a split for them, callers pass anything.
  const TensorList to = type_target >= 0 ? tensors_of(function, "targets", targets) : TensorList{};
  without_gil(
      [&] { TpContext::find(function, handle)->gather(buffer, from, type, to, type_target, dim, t_device, barrier); });
}

void tp_all_reduce(py::handle context, int buffer, py::handle tensors, py::handle residuals) {
  const uint64_t handle = handle_of(context);
  const TensorList from = tensors_of("tp_all_reduce", "tensors", tensors);
  const TensorList to = tensors_of("tp_all_reduce", "residuals", residuals);
  without_gil([&] { TpContext::find("tp_all_reduce", handle)->all_reduce(buffer, from, to); });
}

void tp_cross_device_barrier(py::handle context, int type, int t_device, int stage, int next_stage) {
  const uint64_t handle = handle_of(context);
  without_gil([&] {
    TpContext::find("tp_cross_device_barrier", handle)->cross_device_barrier(type, t_device, stage, next_stage);
  });
}

void tp_synchronize(py::handle context, int buffer, std::optional<double> timeout) {
  const uint64_t handle = handle_of(context);
  const Patience waits = patience("tp_synchronize", timeout);
  without_gil([&] { TpContext::find("tp_synchronize", handle)->synchronize(buffer, waits); });
}

void tp_set_multithreaded(py::handle context, bool multithreaded) {
  const uint64_t handle = handle_of(context);
  without_gil([&] { TpContext::find("tp_set_multithreaded", handle)->set_multithreaded(multithreaded); });
}

void free_tp_context(py::handle context) {
  const uint64_t handle = handle_of(context);
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

void bind_tp(py::module_& parent) {
  py::module_ module = parent.def_submodule("tp", "The raw split-typed API; see pinnedpg.tp.");
  bind_tp_streams(module);
  module.def("make_tp_context",
             [](py::handle kv, py::handle id, py::handle vc, py::handle rs, py::handle q, py::handle pinned_temp,
                py::handle streams, bool multithreaded, std::optional<double> timeout) {
               return with_torch_errors(
                   [&] { return make_tp_context(kv, id, vc, rs, q, pinned_temp, streams, multithreaded, timeout); });
             });
  module.def("free_tp_context", with_errors(free_tp_context));
  module.def("tp_broadcast", with_errors(tp_broadcast));
  module.def("tp_gather", with_errors(tp_gather));
  module.def("tp_cross_device_barrier", with_errors(tp_cross_device_barrier));
  module.def("tp_all_reduce", with_errors(tp_all_reduce));
  module.def("tp_synchronize", with_errors(tp_synchronize));
  module.def("tp_set_multithreaded", with_errors(tp_set_multithreaded));
  module.def("shut_down", &shut_down);
  // For the project's own tests.
  module.def("_record", [](const std::vector<std::string>& program, int world_size, size_t slot_bytes, uint32_t depth,
                           bool two_lanes, size_t nbytes) {
    return with_torch_errors(
        [&] { return tp::record(program, {world_size, slot_bytes, depth, slot_bytes}, two_lanes, nbytes); });
  });
}

}  // namespace pinnedpg
