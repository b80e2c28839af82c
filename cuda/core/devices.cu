// SPDX-License-Identifier: Apache-2.0
#include "core/devices.h"

#include <cuda_runtime.h>

#include <cstdio>

namespace wq::cuda {
namespace {

template <std::size_t N>
void put(char (&target)[N], const char* text) {
  std::snprintf(target, N, "%s", text);
}

/// A stable word for each way in which devices can be missing.
const char* reason_of(cudaError_t error) {
  switch (error) {
  case cudaSuccess:
    return "";
  case cudaErrorNoDevice:
    return "no_device";
  case cudaErrorInsufficientDriver:
    return "old_driver";
  case cudaErrorSystemDriverMismatch:
  case cudaErrorCompatNotSupportedOnDevice:
    return "driver_mismatch";
  case cudaErrorNoKernelImageForDevice:
  case cudaErrorInvalidKernelImage:
    return "arch_missing";
  case cudaErrorDevicesUnavailable:
    return "busy";
  default:
    return "driver_error";
  }
}

/// Proves that this build carries code for a device.
__global__ void probe_kernel(int* out) { *out = 42; }

cudaError_t probe() {
  int *memory = nullptr, answer = 0;
  cudaError_t error = cudaMalloc(&memory, sizeof(int));
  if (error != cudaSuccess) return error;
  probe_kernel<<<1, 1>>>(memory);
  error = cudaGetLastError();
  if (error == cudaSuccess) error = cudaMemcpy(&answer, memory, sizeof(int), cudaMemcpyDeviceToHost);
  if (error == cudaSuccess && answer != 42) error = cudaErrorUnknown;
  cudaFree(memory);
  return error;
}

}  // namespace

void status(BackendStatus* out) {
  cudaDriverGetVersion(&out->driver_version);
  cudaRuntimeGetVersion(&out->runtime_version);
  const cudaError_t error = cudaGetDeviceCount(&out->device_count);
  cudaGetLastError();  // leave no error behind
  if (error != cudaSuccess) out->device_count = 0;
  if (out->driver_version == 0) {
    put(out->reason, "no_driver");
    put(out->message, "no NVIDIA driver is installed");
  } else if (error == cudaSuccess && out->device_count == 0) {
    put(out->reason, "no_device");
    put(out->message, "the driver reports no device");
  } else {
    put(out->reason, reason_of(error));
    put(out->message, error == cudaSuccess ? "" : cudaGetErrorString(error));
  }
}

void device(int index, DeviceInfo* out) {
  cudaDeviceProp p{};
  int before = 0;
  cudaError_t error = cudaGetDeviceProperties(&p, index);
  if (error == cudaSuccess) {
    put(out->name, p.name);
    const auto* u = reinterpret_cast<const unsigned char*>(p.uuid.bytes);
    std::snprintf(out->uuid, sizeof out->uuid,
                  "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3],
                  u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    out->major = p.major;
    out->minor = p.minor;
    out->multiprocessors = p.multiProcessorCount;
    cudaGetDevice(&before);
    error = cudaSetDevice(index);
  }
  if (error == cudaSuccess) {
    std::size_t free = 0, total = 0;
    error = cudaMemGetInfo(&free, &total);
    out->memory_free = static_cast<std::int64_t>(free);
    out->memory_total = static_cast<std::int64_t>(total);
    if (error == cudaSuccess) error = probe();
    cudaSetDevice(before);
  }
  out->runs_kernels = error == cudaSuccess;
  if (error != cudaSuccess) put(out->message, cudaGetErrorString(error));
  cudaGetLastError();
}

}  // namespace wq::cuda
