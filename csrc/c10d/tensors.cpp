// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/tensors.h"

#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/check.h"
#include "device/device.h"
#include "device/releaser.h"
#include "memory/label.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

namespace {

int index_of(const at::Tensor& tensor) { return std::max<int>(tensor.device().index(), 0); }

}  // namespace

Region region_of(const at::Tensor& tensor) {
  return Region::flat(tensor.data_ptr(), static_cast<size_t>(tensor.numel()) * tensor.element_size());
}

void Tensors::check(const at::Tensor& tensor, const char* what) {
  PINNEDPG_CHECK(tensor.defined(), operation_, ": ", what, " must be a tensor; got an undefined one");
  PINNEDPG_CHECK(tensor.layout() == at::kStrided, operation_, ": ", what, " must be dense; got layout ",
                 tensor.layout(), ". Call .to_dense() first");
  const at::DeviceType device = tensor.device().type();
  PINNEDPG_CHECK(device == at::kCPU || device == at::kCUDA, operation_, ": ", what,
                 " must be a CPU or a CUDA tensor; got one on ", tensor.device());
  PINNEDPG_CHECK(device == at::kCPU || built_with_cuda(), operation_, ": ", what, " must be a CPU tensor; got one on ",
                 tensor.device(), ", and this build of pinnedpg is for the CPU alone: build it where nvcc is found");
  PINNEDPG_CHECK(tensor.numel() == 0 || !tensor.has_storage() || tensor.storage().nbytes() > 0, operation_, ": ", what,
                 " must have memory; got one of shape ", tensor.sizes(), " whose storage has been freed");
  if (type_ == at::ScalarType::Undefined) type_ = tensor.scalar_type(), device_type_ = device;
  PINNEDPG_CHECK(device == device_type_, operation_, ": ", what, " must be on ", device_type_,
                 " as the others; got one on ", tensor.device());
  PINNEDPG_CHECK(tensor.scalar_type() == type_, operation_, ": ", what, " must be of the type of the others, torch.",
                 dtype_text(dtype_label(type_)), "; got torch.", dtype_text(dtype_label(tensor.scalar_type())));
}

bool Tensors::is_plain(const at::Tensor& tensor) const {
  return tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg() && (!on_host_ || tensor.device().is_cpu());
}

at::Tensor Tensors::staged(const at::Tensor& tensor) const {
  const auto options = tensor.options().memory_format(std::nullopt);
  return at::empty(tensor.sizes(), on_host_ ? options.device(at::kCPU) : options);
}

bool Tensors::on_gpus() const { return type_ != at::ScalarType::Undefined && device_type_ == gpu_type() && !on_host_; }

std::vector<int> Tensors::gpus() const {
  std::vector<int> gpus;
  for (const at::Tensor& tensor : kept_) {
    const int gpu = index_of(tensor);
    if (std::find(gpus.begin(), gpus.end(), gpu) == gpus.end()) gpus.push_back(gpu);
  }
  return gpus;
}

int Tensors::gpu_of(const Region& region) const {
  for (const at::Tensor& tensor : kept_) {
    if (region.bytes() > 0 && overlap(region_of(tensor), region)) return index_of(tensor);
  }
  return -1;
}

Region Tensors::keep(at::Tensor tensor) {
  kept_.push_back(std::move(tensor));
  return region_of(kept_.back());
}

Region Tensors::input(const at::Tensor& tensor) {
  check(tensor, "input");
  return is_plain(tensor) ? keep(tensor) : copied_input(tensor);
}

Region Tensors::copied_input(const at::Tensor& tensor) {
  const Region region = keep(staged(tensor));
  reads_.emplace_back(tensor, kept_.back());
  return region;
}

Region Tensors::result(const at::Tensor& tensor, bool read) {
  check(tensor, "output");
  if (is_plain(tensor)) return keep(tensor);
  PINNEDPG_CHECK(at::has_internal_overlap(tensor) != at::MemOverlap::Yes, operation_,
                 ": output must have a place for each element; got one of shape ", tensor.sizes(), " and strides ",
                 tensor.strides());
  const Region region = read ? copied_input(tensor) : keep(staged(tensor));
  copies_.emplace_back(tensor, kept_.back());
  return region;
}

void Tensors::read() {
  if (reads_.empty()) return;
  c10::InferenceMode on;  // on whatever thread: the tensors may be inference tensors
  for (auto& [users, ours] : reads_) ours.copy_(users.detach());
}

void Tensors::write_back() {
  if (copies_.empty()) return;
  c10::InferenceMode on;  // on whatever thread: the tensors may be inference tensors
  for (auto& [users, ours] : copies_) users.detach().copy_(ours);
}

void Tensors::let_go() {
  Tensors kept = std::exchange(*this, Tensors(operation_));
  if (kept.on_gpus()) let_go_aside(std::move(kept));
}

uint64_t hash_layout(std::span<const Region> regions) {
  uint64_t hash = 0x9e3779b97f4a7c15;
  bool even = true;
  for (const Region& region : regions) {
    hash = (hash ^ region.bytes()) * 0xff51afd7ed558ccd;
    even &= region.bytes() == regions[0].bytes();
  }
  return even ? 0 : hash | 1;
}

Regions split_evenly(const Region& whole, int parts, Memory* memory) {
  const size_t bytes = whole.bytes() / static_cast<size_t>(parts);
  Regions regions(memory);
  regions.reserve(static_cast<size_t>(parts));
  for (int i = 0; i < parts; ++i) regions.push_back(whole.cut(static_cast<size_t>(i) * bytes, bytes));
  return regions;
}

bool overlap(const Region& one, const Region& other) {
  return one.data < other.data + other.bytes() && other.data < one.data + one.bytes();
}

void check_apart(const char* operation, std::span<const Region> regions) {
  for (size_t i = 0; i < regions.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      PINNEDPG_CHECK(!overlap(regions[i], regions[j]), operation, ": the tensors of a list must not overlap; got ", j,
                     " and ", i, " in the same memory");
    }
  }
}

bool overlap_partly(const Region& one, const Region& other) {
  return overlap(one, other) && (one.data != other.data || one.bytes() != other.bytes());
}

}  // namespace pinnedpg
