// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "module_tp_arguments.h"

#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace pinnedpg {

namespace {

/// Raises TypeError, as ValueErrors are raised: "<function>: <argument> must be ...; got ...".
[[noreturn]] void throw_type_error(const tp::Argument& argument, const char* expected, py::handle object) {
  throw py::type_error(concat(argument, " must be ", expected, "; got ", shown(object)));
}

/// The int that an object stands for; null if it stands for none.
py::object index_of(py::handle object) {
  PyObject* const index = PyIndex_Check(object.ptr()) ? PyNumber_Index(object.ptr()) : nullptr;
  if (index == nullptr) PyErr_Clear();
  return py::reinterpret_steal<py::object>(index);
}

template <typename Integer>
std::optional<Integer> fitted(const py::object& index) {
  try {
    return index.cast<Integer>();
  } catch (const py::cast_error&) {
    return std::nullopt;
  }
}

template <typename Integer>
Integer number_of(const tp::Argument& argument, py::handle object) {
  const py::object index = index_of(object);
  if (!index) throw_type_error(argument, "an int", object);
  const std::optional<Integer> value = fitted<Integer>(index);
  PINNEDPG_CHECK(value, argument, " must fit into ", 8 * sizeof(Integer), " bits; got ", shown(object));
  return *value;
}

}  // namespace

std::string shown(py::handle object) {
  try {
    return py::repr(object).cast<std::string>();
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // Ctrl-C
    return concat("what cannot be shown, of type ", Py_TYPE(object.ptr())->tp_name);
  }
}

template <typename Integer>
std::optional<Integer> integer_if_any(py::handle object) {
  const py::object index = index_of(object);
  return index ? fitted<Integer>(index) : std::nullopt;
}

template std::optional<int64_t> integer_if_any(py::handle object);
template std::optional<uint64_t> integer_if_any(py::handle object);

int int_of(const tp::Argument& argument, py::handle object) { return number_of<int>(argument, object); }

int64_t int64_of(const tp::Argument& argument, py::handle object) { return number_of<int64_t>(argument, object); }

bool bool_of(const tp::Argument& argument, py::handle object) {
  try {
    return object.cast<bool>();
  } catch (const py::cast_error&) {
    throw_type_error(argument, "a bool", object);
  }
}

uint64_t handle_of(const char* function, py::handle object) {
  const std::optional<uint64_t> handle = integer_if_any<uint64_t>(object);
  PINNEDPG_CHECK(handle, function, ": tp_context must be a handle from make_tp_context; got ", shown(object));
  return *handle;
}

tp::Barrier* barrier_of(const tp::Argument& argument, py::handle object) {
  if (object.is_none()) return nullptr;
  if (!py::isinstance<tp::Barrier>(object)) throw_type_error(argument, "a Barrier or None", object);
  return object.cast<tp::Barrier*>();
}

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

std::vector<at::Tensor> tensors_of(const char* function, const char* name, py::handle list) {
  std::vector<at::Tensor> tensors;
  for (const py::object& item : items({function, name}, list)) {
    tensors.push_back(tensor_of({function, name, static_cast<int64_t>(tensors.size())}, item));
  }
  return tensors;
}

std::optional<std::chrono::milliseconds> timeout_of(const char* function, py::handle seconds) {
  constexpr double kMost = 1e9;  // 30 years
  constexpr const char* kExpected = "None or a number of seconds, 0 or more";
  if (seconds.is_none()) return std::nullopt;
  const tp::Argument argument{function, "timeout"};
  double value = PyFloat_AsDouble(seconds.ptr());
  if (PyErr_Occurred() != nullptr) {
    const bool is_number = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
    PyErr_Clear();
    if (!is_number) throw_type_error(argument, kExpected, seconds);
    value = -1;  // an int beyond all floats
  }
  PINNEDPG_CHECK(value >= 0, argument, " must be ", kExpected, "; got ", shown(seconds));
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(std::min(value, kMost) * 1000)));
}

}  // namespace pinnedpg
