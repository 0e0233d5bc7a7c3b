// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <pybind11/stl.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "c10d/errors.h"
#include "module.h"

namespace pinnedpg {

namespace py = pybind11;

/// Lets threads of ours into Python until the interpreter begins to shut down: a thread that asks for the GIL later
/// than that is killed where it stands.
class Gate {
 public:
  static Gate& instance();

  /// Runs `body` with the GIL; false: it is too late.
  template <typename Body>
  bool enter(Body&& body) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      ++inside_;
    }
    {
      py::gil_scoped_acquire acquired;
      body();
    }
    std::lock_guard lock(mutex_);
    --inside_;
    changed_.notify_all();
    return true;
  }

  /// Waits for those inside, without the GIL; false in a forked child, which has none of its parent's threads.
  bool close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const pid_t process_ = ::getpid();
  int inside_ = 0;
  bool closed_ = false;
};

using PythonObject = std::shared_ptr<py::object>;

/// An object that any thread may let go of; leaked where the interpreter has gone before.
PythonObject share(py::object object);

/// What a submitted function has raised.
struct PythonError : std::exception {
  explicit PythonError(PythonObject exception) : exception(std::move(exception)) {}
  const char* what() const noexcept override { return "a submitted function raised"; }
  PythonObject exception;
};

/// Runs what may wait or take long. What a submitted function raised is raised here as it was.
template <typename Body>
void without_gil(Body&& body) {
  try {
    py::gil_scoped_release released;
    body();
  } catch (const PythonError& error) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.exception->ptr())), error.exception->ptr());
    throw py::error_already_set();
  }
}

/// A function whose errors are raised as torch's.
template <typename... Args>
auto with_errors(void (*function)(Args...)) {
  return [function](Args... args) { with_torch_errors([&] { function(args...); }); };
}

/// Adds HostStream and Barrier.
void bind_tp_streams(py::module_& module);

}  // namespace pinnedpg
