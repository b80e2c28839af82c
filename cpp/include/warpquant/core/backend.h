// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// What a device module (`_cuda`) offers to `_core`: plain functions behind a capsule, no symbol shared between the
/// two libraries, no CUDA type in sight. The capsule's name holds the version of this header.
namespace wq {

inline constexpr int kBackendAbi = 1;
inline constexpr const char* kBackendCapsule = "warpquant.backend.1";

struct BackendStatus {
  int driver_version;  // 1000 * major + 10 * minor, 0 without a driver
  int runtime_version;
  int device_count;
  char reason[32];  // "" if devices can be used, else a stable word: no_driver, old_driver, no_device, ...
  char message[256];
};

struct DeviceInfo {
  char name[256];
  char uuid[64];
  int major, minor;  // compute capability
  int multiprocessors;
  std::int64_t memory_total, memory_free;  // bytes
  int runs_kernels;                        // whether a kernel of this build ran on it
  char message[256];                       // why not
};

struct BackendTable {
  void (*status)(BackendStatus* out);
  void (*device)(int index, DeviceInfo* out);
};

}  // namespace wq
