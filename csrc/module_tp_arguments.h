// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// Reads the arguments of the raw API. What is wrong with one is said by name: ValueError, or TypeError for what is
// no number, bool or Barrier at all.
#pragma once

#include <ATen/core/Tensor.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <optional>
#include <vector>

#include "tp/barrier.h"
#include "tp/patience.h"
#include "tp/tensors.h"

namespace pinnedpg {

namespace py = pybind11;

/// How errors show what they got.
std::string shown(py::handle object);

/// An int or what stands for one (a HostStream); nothing if it is none, or does not fit. For int64_t and uint64_t.
template <typename Integer>
std::optional<Integer> integer_if_any(py::handle object);

int int_of(const tp::Argument& argument, py::handle object);
int64_t int64_of(const tp::Argument& argument, py::handle object);
bool bool_of(const tp::Argument& argument, py::handle object);

/// A context's handle, which need not be one of a context that there is. Its argument is named tp_context.
uint64_t handle_of(const char* function, py::handle object);

/// None: null.
tp::Barrier* barrier_of(const tp::Argument& argument, py::handle object);

/// The entries of a list or tuple, or of what is like one.
std::vector<py::object> items(const tp::Argument& argument, py::handle list);
at::Tensor tensor_of(const tp::Argument& argument, py::handle object);
std::vector<at::Tensor> tensors_of(const char* function, const char* name, py::handle list);

/// Seconds; None: nothing. Its argument is named timeout.
std::optional<std::chrono::milliseconds> timeout_of(const char* function, py::handle seconds);

}  // namespace pinnedpg
