// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What the project's own tests and tools need of the engine. No part of the public interface.
#include <torch/csrc/utils/pybind.h>

#include "collective/recorder.h"
#include "device/device.h"
#include "device/reduce.h"
#include "memory/segment.h"
#include "module.h"
#include "torch_glue/reduce_dtype.h"

namespace pinnedpg {

namespace py = pybind11;

namespace {

std::vector<std::tuple<std::string, size_t, size_t>> tuples(const std::vector<Span>& spans) {
  std::vector<std::tuple<std::string, size_t, size_t>> out;
  for (const Span& span : spans) out.emplace_back(span.space, span.begin, span.end);
  return out;
}

Reduction reduction_of(at::ScalarType type, const std::string& op) {
  for (int i = 0; i < kReduceOpCount; ++i) {
    if (op == op_name(static_cast<ReduceOp>(i))) return {dtype_of(type).value(), static_cast<ReduceOp>(i)};
  }
  throw ValueError(concat("reduce: the op must be one of SUM .. PREMUL_SUM; got ", op));
}

void reduce(const at::Tensor& dst, const std::vector<at::Tensor>& srcs, const std::string& op,
            const std::vector<double>& factors, const std::string& isa) {
  const Reduction reduction = reduction_of(dst.scalar_type(), op);
  std::vector<const void*> addresses;
  for (const at::Tensor& src : srcs) addresses.push_back(src.data_ptr());
  const auto count = static_cast<size_t>(dst.numel());
  if (isa.empty()) {
    reduce_host(dst.data_ptr(), addresses, count, reduction, factors);
  } else {
    reduce_host_with(isa, dst.data_ptr(), addresses, count, reduction, factors);
  }
}

void bind_reduce(py::module_& module) {
  module.def("_reduce", &reduce, py::arg("dst"), py::arg("srcs"), py::arg("op"),
             py::arg("factors") = std::vector<double>{}, py::arg("isa") = "", py::call_guard<py::gil_scoped_release>());
  module.def("_can_reduce",
             [](at::ScalarType dtype, const std::string& op) { return can_reduce(reduction_of(dtype, op)); });
  module.def("_reduce_isas", [] {
    const auto isas = reduce_isas();
    return std::vector<std::string>(isas.begin(), isas.end());
  });
}

void bind_segment(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  py::class_<Segment, std::shared_ptr<Segment>>(module, "_Segment", py::buffer_protocol())
      .def_static("create", &Segment::create, no_gil)
      .def_static(
          "open", [](const std::string& handle) { return Segment::open(Segment::Handle::parse(handle)); }, no_gil)
      .def("reserve", &Segment::reserve, no_gil)
      .def("seal", &Segment::seal, no_gil)
      .def_property_readonly("handle", [](const Segment& self) { return self.handle().to_string(); })
      .def_buffer([](const Segment& self) {
        return py::buffer_info(reinterpret_cast<uint8_t*>(self.data()), static_cast<py::ssize_t>(self.bytes()));
      });
}

}  // namespace

void bind_testing(py::module_& module) {
  module.def("_pin", [](const at::Tensor& tensor) { pin(tensor.data_ptr(), tensor.nbytes()); });
  module.def("_unpin", [](const at::Tensor& tensor) { unpin(tensor.data_ptr()); });
  bind_reduce(module);
  bind_segment(module);
  py::class_<Event>(module, "_Event")
      .def_readonly("rank", &Event::rank)
      .def_readonly("lane", &Event::lane)
      .def_readonly("verb", &Event::verb)
      .def_property_readonly("reads", [](const Event& self) { return tuples(self.reads); })
      .def_property_readonly("writes", [](const Event& self) { return tuples(self.writes); })
      .def_readonly("flags", &Event::flags)
      .def_readonly("step", &Event::step);
  module.def(
      "_record",
      [](const std::string& name, int world_size, size_t nbytes, size_t slot_bytes, uint32_t depth,
         size_t one_shot_bytes, int calls, bool two_lanes) {
        return record_collective(name, {world_size, slot_bytes, depth, one_shot_bytes}, calls, two_lanes, nbytes);
      },
      py::arg("name"), py::arg("world_size"), py::arg("nbytes"), py::arg("slot_bytes"), py::arg("depth"),
      py::arg("one_shot_bytes"), py::arg("calls") = 1, py::arg("two_lanes") = true);
}

}  // namespace pinnedpg
