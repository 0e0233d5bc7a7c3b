# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
# The engine's tests of threads under a sanitizer: make -f tests/cpp/sanitizers.mk -j2 SANITIZER=thread|address
# For thread nothing but a compiler is needed; for address TORCH, the directory of an installed torch (its headers).
CXX ?= g++
SANITIZER ?= thread
BUILD := build/sanitize-$(SANITIZER)
PROGRAMS := engine_threads queued_threads

SOURCES := $(wildcard csrc/base/*.cpp csrc/memory/*.cpp csrc/collective/*.cpp) csrc/c10d/cuda_fused.cpp
SOURCES += $(patsubst %,csrc/device/%.cpp,cuda_end host_copy host_stream queue releaser stage_copy threads wait_policy reduce_host)
SOURCES += tests/fake/fake_cuda.cpp tests/fake/fake_fused.cpp
ifeq ($(SANITIZER),thread)
  CHECKS := thread
  SOURCES += tests/cpp/one_isa.cpp
else
  CHECKS := address,undefined
  SOURCES += $(wildcard csrc/device/reduce_host_*.cpp)
endif

# -Wno-tsan: it knows no fences, which the host's loops have. GCC 12's own AVX-512 header initialises a variable with itself.
FLAGS := -std=c++20 -O1 -g -fno-omit-frame-pointer -fsanitize=$(CHECKS) -ffp-contract=off -Wall -Wextra -Wno-tsan \
  -Wno-maybe-uninitialized -Icsrc -Itests/cpp $(addprefix -isystem ,$(addsuffix /include,$(TORCH)))
ifeq ($(shell uname -m),x86_64)
  AVX2 := -mavx2 -mfma -mf16c
endif
$(BUILD)/csrc/device/reduce_host_avx2.o: OWN := $(AVX2)
$(BUILD)/csrc/device/reduce_host_avx512.o: OWN := $(addprefix -mavx512,$(if $(AVX2),f bw vl dq)) $(AVX2)

OBJECTS := $(SOURCES:%.cpp=$(BUILD)/%.o)
all: $(addprefix $(BUILD)/,$(PROGRAMS))

$(BUILD)/%_threads: $(BUILD)/tests/cpp/%_threads.o $(OBJECTS)
	$(CXX) -fsanitize=$(CHECKS) $^ -o $@ -lpthread

$(BUILD)/%.o: %.cpp tests/cpp/sanitizers.mk
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $(OWN) -MMD -MP -c $< -o $@

.PHONY: all
.SECONDARY:
.SILENT:
-include $(OBJECTS:.o=.d) $(PROGRAMS:%=$(BUILD)/tests/cpp/%.d)
