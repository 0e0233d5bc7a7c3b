// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// HostStream and Barrier of the raw API.
#include "module_tp.h"
#include "module_tp_arguments.h"
#include "tp/barrier.h"
#include "tp/host_queue.h"

namespace pinnedpg {

using tp::Barrier;
using tp::HostQueue;
using tp::Patience;

Gate& Gate::instance() {
  static Gate& gate = *new Gate;  // never destroyed: threads may come while static destructors run
  return gate;
}

bool Gate::close() {
  if (::getpid() != process_) return false;
  std::unique_lock lock(mutex_);
  closed_ = true;
  changed_.wait(lock, [&] { return inside_ == 0; });
  return true;
}

PythonObject share(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) { Gate::instance().enter([&] { delete held; }); }};
}

namespace {

void call(const PythonObject& function) {
  std::optional<PythonError> error;
  const bool called = Gate::instance().enter([&] {
    try {
      (*function)();
    } catch (py::error_already_set& raised) {
      py::object exception = raised.value();
      if (raised.trace()) PyException_SetTraceback(exception.ptr(), raised.trace().ptr());
      error.emplace(share(std::move(exception)));
    }
  });
  if (!called) throw GroupError("HostStream.submit: the interpreter shuts down; the function was not called");
  if (error) throw PythonError(*error);
}

void submit(HostQueue& self, const py::object& function) {
  PINNEDPG_CHECK(PyCallable_Check(function.ptr()), "HostStream.submit: function must be callable; got ",
                 shown(function));
  const PythonObject shared = share(function);
  without_gil([&] { self.submit([shared] { call(shared); }); });
}

void synchronize_stream(HostQueue& self, const py::object& timeout) {
  const Patience waits(timeout_of("HostStream.synchronize", timeout));
  without_gil([&] { self.synchronize(waits); });
}

void arrive_and_wait(Barrier& self, const py::object& timeout) {
  const Patience waits(timeout_of("Barrier.arrive_and_wait", timeout));
  without_gil([&] { self.arrive_and_wait(waits); });
}

void reset(Barrier& self, const py::object& num_threads) {
  self.reset(int_of({"Barrier.reset", "num_threads"}, num_threads));
}

constexpr const char* kHostStreamDoc =
    R"(The stream of a host device: an ordered queue of work that other threads do.

It stands for `torch.cuda.Stream` where there is no GPU. Its handle, `int(stream)` or
`stream.cuda_stream`, is never 0 and is good as long as the object lives; a context keeps the streams it
was made with alive.

Args:
    device: The ordinal of the host device, 0 or more, chosen by the caller.

Raises:
    ValueError: The device is negative.)";

constexpr const char* kSubmitDoc =
    R"(Queues `function()` as work of this device: this is how a host device computes.

It runs on a thread of its own when all work queued before is done; work queued later waits for it. What it
raises is kept, and raised by the next `synchronize()` (or `tp_synchronize` of all buffers). It must not
wait for its own stream. At exit the interpreter waits for a function that runs; those that have not begun
are dropped.)";

constexpr const char* kSynchronizeDoc =
    R"(Waits until all work queued on the stream so far is done; raises the first error of that work.

Args:
    timeout: Seconds, or None to wait for ever.

Raises:
    RuntimeError: The work is not done in time, or a call of a context has failed on this stream.
    Exception: Whatever a submitted function has raised.)";

constexpr const char* kBarrierDoc =
    R"(Where host threads meet, any number of times: each is held until `num_threads` have come.

Args:
    num_threads: How many meet, 1 or more.

Source: exllamav2 0.3.2, `Barrier` in exllamav2_ext/cpp/threadpool.h; there it waits for ever.)";

}  // namespace

void bind_tp_streams(py::module_& module) {
  py::class_<HostQueue, std::shared_ptr<HostQueue>>(module, "HostStream", kHostStreamDoc)
      .def(py::init([](const py::object& device) {
             return with_torch_errors([&] { return HostQueue::create(int_of({"HostStream", "device"}, device)); });
           }),
           py::arg("device"))
      .def_property_readonly("device", &HostQueue::device, "The ordinal of its device.")
      .def_property_readonly("cuda_stream", &HostQueue::handle, "The handle, under the name CUDA streams have it.")
      .def("__int__", &HostQueue::handle)
      .def("__index__", &HostQueue::handle)
      .def("__repr__", [](const HostQueue& self) { return concat("HostStream(device=", self.device(), ")"); })
      .def("query", &HostQueue::query, py::call_guard<py::gil_scoped_release>(), "Whether all work queued is done.")
      .def("submit", with_errors(submit), py::arg("function"), kSubmitDoc)
      .def("synchronize", with_errors(synchronize_stream), py::arg("timeout") = py::none(), kSynchronizeDoc);
  py::class_<Barrier>(module, "Barrier", kBarrierDoc)
      .def(py::init([](const py::object& num_threads) {
             return with_torch_errors(
                 [&] { return std::make_unique<Barrier>(int_of({"Barrier", "num_threads"}, num_threads)); });
           }),
           py::arg("num_threads"))
      .def("arrive_and_wait", with_errors(arrive_and_wait), py::arg("timeout") = py::none(),
           "Waits for the others; RuntimeError, then and until `reset`, if they do not come within `timeout` seconds.")
      .def("reset", with_errors(reset), py::arg("num_threads"), "Begins anew; threads that wait raise RuntimeError.");
}

}  // namespace pinnedpg
