// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <pybind11/chrono.h>
#include <torch/csrc/utils/pybind.h>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "c10d/process_group.h"
#include "module.h"

namespace pinnedpg {

namespace {

/// A time-out as a user gives it.
struct Timeout {
  std::chrono::milliseconds limit{0};
};

}  // namespace

}  // namespace pinnedpg

/// pybind counts microseconds in 64 bits, in which timedelta.max has no place.
template <>
struct pybind11::detail::type_caster<pinnedpg::Timeout> {
  PYBIND11_TYPE_CASTER(pinnedpg::Timeout, const_name("datetime.timedelta"));

  bool load(handle given, bool convert) {
    constexpr std::chrono::milliseconds kMost = pinnedpg::bounded(std::chrono::milliseconds::max());
    make_caster<std::chrono::milliseconds> caster;
    if (!caster.load(given, convert)) return false;
    value.limit = cast_op<std::chrono::milliseconds>(caster);
    const bool is_long = hasattr(given, "days") && given.attr("days").cast<int64_t>() > kMost / std::chrono::hours(24);
    if (is_long) value.limit = kMost;
    return true;
  }
};

namespace pinnedpg {

namespace py = pybind11;

namespace {

constexpr const char* kOptionsDoc = R"(What a user may choose of a group; the first rank's choice counts for all.

Args:
    slot_bytes: What one rank moves in one step; 0: the group's size decides.
    depth: Slots of a rank, a power of two from 4; 0: the group's size decides.
    one_shot_bytes: Up to here all_reduce takes one exchange, not two; -1: 1 MiB / world_size^2, of CUDA tensors 8 MiB.
    budget_bytes: Shared memory of one group, and 3/2 of it more for its CUDA tensors; slots shrink to fit.
    fused_bytes: Of calls with CUDA tensors, of each rank: up to here a call is one kernel where the ranks have a GPU each,
        and can be captured in a CUDA graph. A multiple of 64; 0: never.
    word_bytes: Of these calls: up to here each word carries a flag, which is quicker, but twice the bytes; above, each 4 KiB
        have one. A multiple of 64.
    host_waits: In calls with CUDA tensors the host waits for the peers and for its own GPU, and the call returns once it
        is done. So it is, without this, where a GPU of the group has no stream memory operations. True on any rank: on all.
    timeout: A timedelta, which wins over init_process_group's; None: that counts.

Raises:
    ValueError: A size that cannot be.)";

constexpr const char* kSlotBytesDoc =
    "What one rank moves in one step; 0: 128 KiB; 1 MiB where ranks outnumber cores; 4 MiB on GPUs.";
constexpr const char* kDepthDoc = "Slots of a rank, a power of two from 4; 0: 16; 4 where slots are that large.";

template <typename T>
using Holder = c10::intrusive_ptr<T>;

void bind_options(py::module_& module, const py::module_& base) {
  const auto copy = [](const Options& self) { return c10::make_intrusive<Options>(self); };
  py::class_<Options, Holder<Options>>(module, "Options", base.attr("Backend").attr("Options"), kOptionsDoc)
      .def(py::init([](int64_t slot_bytes, int64_t depth, int64_t one_shot_bytes, int64_t budget_bytes,
                       int64_t fused_bytes, int64_t word_bytes, bool host_waits, std::optional<Timeout> timeout) {
             auto options = c10::make_intrusive<Options>();
             options->slot_bytes = slot_bytes;
             options->depth = depth;
             options->one_shot_bytes = one_shot_bytes;
             options->budget_bytes = budget_bytes;
             options->fused_bytes = fused_bytes;
             options->word_bytes = word_bytes;
             options->host_waits = host_waits;
             options->timeout_chosen = timeout.has_value();
             if (timeout) options->timeout = timeout->limit;
             options->geometry(1);
             return options;
           }),
           py::kw_only(), py::arg("slot_bytes") = 0, py::arg("depth") = 0, py::arg("one_shot_bytes") = -1,
           py::arg("budget_bytes") = 32 << 20, py::arg("fused_bytes") = 1 << 20, py::arg("word_bytes") = 64 << 10,
           py::arg("host_waits") = false, py::arg("timeout") = py::none())
      .def_readwrite("slot_bytes", &Options::slot_bytes, kSlotBytesDoc)
      .def_readwrite("depth", &Options::depth, kDepthDoc)
      .def_readwrite("one_shot_bytes", &Options::one_shot_bytes, "Up to here all_reduce takes one exchange, not two.")
      .def_readwrite("budget_bytes", &Options::budget_bytes,
                     "Shared memory of one group, and 3/2 of it more for its CUDA tensors; slots shrink to fit.")
      .def_readwrite("fused_bytes", &Options::fused_bytes,
                     "Up to here a call with CUDA tensors is one kernel; 0: never.")
      .def_readwrite("word_bytes", &Options::word_bytes, "Up to here each word of such a call carries a flag.")
      .def_readwrite("host_waits", &Options::host_waits, "Of calls with CUDA tensors: the host waits, not the GPUs.")
      .def_readonly("_timeout_chosen", &Options::timeout_chosen,
                    "Whether the options were made with a time-out: it wins over init_process_group's.")
      .def_readwrite("group_name", &Options::group_name, "Set by torch.")
      .def_readwrite("global_ranks_in_group", &Options::global_ranks_in_group, "Set by torch.")
      .def(
          "segment_bytes",
          [](const Options& self, int world_size) { return Staging::bytes_needed(self.geometry(world_size)); },
          py::arg("world_size"), "The shared memory of one group of that many ranks, in bytes.")
      .def("__copy__", copy)
      .def("__deepcopy__", [copy](const Options& self, const py::dict&) { return copy(self); });
}

}  // namespace

void bind_c10d(py::module_& module) {
  const py::module_ base = py::module_::import("torch._C._distributed_c10d");
  bind_options(module, base);
  py::class_<ProcessGroupPinned, Holder<ProcessGroupPinned>>(module, "ProcessGroupPinned", base.attr("Backend"),
                                                             "The backend 'pinned' of one rank and group.")
      .def(py::init([](const Holder<c10d::Store>& store, int rank, int size, const Holder<Options>& options) {
             // Not as a call guard: that would register the new Python object without the GIL as well.
             const py::gil_scoped_release no_gil;
             return c10::make_intrusive<ProcessGroupPinned>(store, rank, size, *options);
           }),
           py::arg("store"), py::arg("rank"), py::arg("size"), py::arg("options"))
      .def(
          "perform_nocolor_split", [](ProcessGroupPinned&, const py::object&) {}, py::arg("device"),
          "For ranks that a split leaves out: there is nothing that they have to do.")
      .def("get_error", &ProcessGroupPinned::getError, py::call_guard<py::gil_scoped_release>(),
           "Whether the group can go on (SUCCESS) or has failed.")
      .def_property_readonly(
          "options",
          [](ProcessGroupPinned& self) {
            return c10::static_intrusive_pointer_cast<Options>(self.getBackendOptions());
          },
          "A copy of the group's options.");
}

}  // namespace pinnedpg
