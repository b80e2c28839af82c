// SPDX-License-Identifier: Apache-2.0
#include "core/runtime.h"

#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>

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

/// Driver, runtime and number of devices; works without a driver.
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

/// One device. Trying it creates a context there.
void device(int index, int try_it, DeviceInfo* out) {
  cudaDeviceProp p{};
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
    out->memory_total = static_cast<std::int64_t>(p.totalGlobalMem);
  }
  int before = 0;
  if (error == cudaSuccess && try_it) {
    cudaGetDevice(&before);
    error = cudaSetDevice(index);
    std::size_t free = 0, total = 0;
    if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
    out->memory_free = static_cast<std::int64_t>(free);
    if (error == cudaSuccess) error = probe();
    if (before != index) cudaSetDevice(before);
  }
  out->runs_kernels = error == cudaSuccess;
  if (error != cudaSuccess) put(out->message, cudaGetErrorString(error));
  cudaGetLastError();
}

// ------------------------------------------------------------------------------------------------ memory

cudaStream_t native(Handle stream) { return static_cast<cudaStream_t>(stream); }

/// A pool of our own, so that settings are nobody else's. It keeps what is freed: giving it back to the system and
/// asking again takes a hundred times as long. Null where the device has no pools.
cudaError_t pool_of(int index, cudaMemPool_t* out) {
  struct Entry {
    bool made = false;
    cudaMemPool_t pool = nullptr;
  };
  static std::mutex mutex;
  static std::map<int, Entry>* const pools = new std::map<int, Entry>;
  const std::lock_guard lock(mutex);
  Entry& entry = (*pools)[index];
  if (!entry.made) {
    int supported = 0;
    cudaError_t error = cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, index);
    if (error == cudaSuccess && supported) {
      cudaMemPoolProps properties{};
      properties.allocType = cudaMemAllocationTypePinned;
      properties.location.type = cudaMemLocationTypeDevice;
      properties.location.id = index;
      error = cudaMemPoolCreate(&entry.pool, &properties);
      std::uint64_t everything = ~std::uint64_t{0};
      if (error == cudaSuccess)
        error = cudaMemPoolSetAttribute(entry.pool, cudaMemPoolAttrReleaseThreshold, &everything);
    }
    if (error != cudaSuccess) return error;
    entry.made = true;
  }
  *out = entry.pool;
  return cudaSuccess;
}

Fault allocate(int index, std::size_t bytes, Handle stream, void** out) {
  return on_device(index, [&] {
    cudaMemPool_t pool = nullptr;
    const cudaError_t error = pool_of(index, &pool);
    if (error != cudaSuccess) return fault_of(error);
    return fault_of(pool == nullptr ? cudaMalloc(out, bytes)
                                    : cudaMallocFromPoolAsync(out, bytes, pool, native(stream)));
  });
}

Fault release(int index, void* memory, Handle stream) {
  return on_device(index, [&] {
    cudaMemPool_t pool = nullptr;
    const cudaError_t error = pool_of(index, &pool);
    if (error != cudaSuccess) return fault_of(error);
    return fault_of(pool == nullptr ? cudaFree(memory) : cudaFreeAsync(memory, native(stream)));
  });
}

Fault trim(int index) {
  return on_device(index, [&] {
    cudaMemPool_t pool = nullptr;
    const cudaError_t error = pool_of(index, &pool);
    return fault_of(error != cudaSuccess || pool == nullptr ? error : cudaMemPoolTrimTo(pool, 0));
  });
}

Fault allocate_pinned(int index, std::size_t bytes, void** out) {
  return on_device(index, [&] { return fault_of(cudaHostAlloc(out, bytes, cudaHostAllocPortable)); });
}

Fault release_pinned(int index, void* memory) {
  return on_device(index, [&] { return fault_of(cudaFreeHost(memory)); });
}

Fault allocate_direct(int index, std::size_t bytes, int managed, void** out) {
  return on_device(index, [&] {
    return fault_of(managed ? cudaMallocManaged(out, bytes, cudaMemAttachGlobal) : cudaMalloc(out, bytes));
  });
}

Fault release_direct(int index, void* memory) {
  return on_device(index, [&] { return fault_of(cudaFree(memory)); });
}

Fault memory(int index, std::int64_t* free, std::int64_t* total) {
  return on_device(index, [&] {
    std::size_t free_bytes = 0, total_bytes = 0;
    const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes);
    *free = static_cast<std::int64_t>(free_bytes);
    *total = static_cast<std::int64_t>(total_bytes);
    return fault_of(error);
  });
}

Fault pinned(int index, const void* memory, int* out) {
  return on_device(index, [&] {
    cudaPointerAttributes attributes{};
    const cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
    *out = attributes.type != cudaMemoryTypeUnregistered;
    return fault_of(error);
  });
}

Fault copy(int index, void* to, const void* from, std::size_t bytes, Handle stream) {
  return on_device(index,
                   [&] { return fault_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream))); });
}

Fault copy_across(int index, void* to, int from_index, const void* from, std::size_t bytes, Handle stream) {
  // Not cudaMemcpyAsync: memory of a pool may be out of reach of the other device's context.
  return on_device(index,
                   [&] { return fault_of(cudaMemcpyPeerAsync(to, index, from, from_index, bytes, native(stream))); });
}

Fault fill(int index, void* to, int byte, std::size_t bytes, Handle stream) {
  return on_device(index, [&] { return fault_of(cudaMemsetAsync(to, byte, bytes, native(stream))); });
}

// ------------------------------------------------------------------------------------------------ streams, events

/// A priority that the device does not have counts as its nearest.
Fault create_stream(int index, int priority, Handle* out) {
  return on_device(index, [&] {
    return fault_of(
        cudaStreamCreateWithPriority(reinterpret_cast<cudaStream_t*>(out), cudaStreamNonBlocking, priority));
  });
}

Fault destroy_stream(int index, Handle stream) {
  return on_device(index, [&] { return fault_of(cudaStreamDestroy(native(stream))); });
}

/// "Not ready" is an answer and no fault.
Fault answer_of(cudaError_t error, int* done) {
  *done = error == cudaSuccess;
  if (error != cudaErrorNotReady) return fault_of(error);
  cudaGetLastError();
  return Fault::none;
}

Fault query(int index, Handle stream, int* done) {
  return on_device(index, [&] { return answer_of(cudaStreamQuery(native(stream)), done); });
}

Fault synchronize(int index) {
  return on_device(index, [&] { return fault_of(cudaDeviceSynchronize()); });
}

Fault create_event(int index, Handle* out) {
  return on_device(index, [&] {
    return fault_of(cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(out), cudaEventDisableTiming));
  });
}

Fault destroy_event(int index, Handle event) {
  return on_device(index, [&] { return fault_of(cudaEventDestroy(static_cast<cudaEvent_t>(event))); });
}

Fault record(int index, Handle event, Handle stream) {
  return on_device(index, [&] { return fault_of(cudaEventRecord(static_cast<cudaEvent_t>(event), native(stream))); });
}

Fault query_event(int index, Handle event, int* done) {
  return on_device(index, [&] { return answer_of(cudaEventQuery(static_cast<cudaEvent_t>(event)), done); });
}

Fault wait(int index, Handle stream, Handle event) {
  return on_device(index,
                   [&] { return fault_of(cudaStreamWaitEvent(native(stream), static_cast<cudaEvent_t>(event))); });
}

Fault capturing(int index, Handle stream, int* out) {
  return on_device(index, [&] {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaError_t error = cudaStreamIsCapturing(native(stream), &status);
    *out = status != cudaStreamCaptureStatusNone;
    return fault_of(error);
  });
}

thread_local char last_message[256];

const char* message() { return last_message; }

}  // namespace

Fault fault_of(cudaError_t error) {
  if (error == cudaSuccess) return Fault::none;
  cudaGetLastError();  // leave no error behind for others
  std::snprintf(last_message, sizeof last_message, "%s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
  switch (error) {
  case cudaErrorMemoryAllocation:
    return Fault::out_of_memory;
  case cudaErrorNoDevice:
  case cudaErrorInvalidDevice:
  case cudaErrorInsufficientDriver:
  case cudaErrorSystemDriverMismatch:
  case cudaErrorCompatNotSupportedOnDevice:
  case cudaErrorDevicesUnavailable:
  case cudaErrorInitializationError:
  case cudaErrorStubLibrary:
  case cudaErrorSystemNotReady:
  case cudaErrorCudartUnloading:
  case cudaErrorDeviceUninitialized:
  case cudaErrorNotSupported:
  case cudaErrorNotPermitted:
  case cudaErrorDeviceNotLicensed:
  case cudaErrorMpsConnectionFailed:
  case cudaErrorMpsRpcFailure:
  case cudaErrorMpsServerNotReady:
  case cudaErrorMpsMaxClientsReached:
  case cudaErrorMpsMaxConnectionsReached:
    return Fault::unavailable;
  case cudaErrorNotReady:
  case cudaErrorTimeout:
    return Fault::transient;
  case cudaErrorIllegalAddress:
  case cudaErrorMisalignedAddress:
  case cudaErrorInvalidAddressSpace:
  case cudaErrorInvalidPc:
  case cudaErrorIllegalInstruction:
  case cudaErrorHardwareStackError:
  case cudaErrorLaunchFailure:
  case cudaErrorLaunchTimeout:
  case cudaErrorMpsClientTerminated:
  case cudaErrorAssert:
  case cudaErrorECCUncorrectable:
  case cudaErrorNvlinkUncorrectable:
  case cudaErrorContained:
  case cudaErrorExternalDevice:
  case cudaErrorContextIsDestroyed:
    return Fault::lost;
  case cudaErrorNoKernelImageForDevice:
  case cudaErrorInvalidKernelImage:
  case cudaErrorInvalidConfiguration:
  case cudaErrorLaunchOutOfResources:
  case cudaErrorInvalidDeviceFunction:
  case cudaErrorSharedObjectInitFailed:
  case cudaErrorUnsupportedPtxVersion:
  case cudaErrorJitCompilerNotFound:
  case cudaErrorInvalidPtx:
    return Fault::kernel;
  case cudaErrorStreamCaptureUnsupported:
  case cudaErrorStreamCaptureInvalidated:
  case cudaErrorStreamCaptureMerge:
  case cudaErrorStreamCaptureUnmatched:
  case cudaErrorStreamCaptureUnjoined:
  case cudaErrorStreamCaptureIsolation:
  case cudaErrorStreamCaptureImplicit:
  case cudaErrorStreamCaptureWrongThread:
  case cudaErrorCapturedEvent:
    return Fault::capture;
  default:
    return Fault::invalid;
  }
}

const BackendTable& table() {
  static const BackendTable instance = {
      .name = "cuda",
      .status = status,
      .device = device,
      .message = message,
      .allocate = allocate,
      .release = release,
      .trim = trim,
      .allocate_pinned = allocate_pinned,
      .release_pinned = release_pinned,
      .allocate_direct = allocate_direct,
      .release_direct = release_direct,
      .memory = memory,
      .pinned = pinned,
      .copy = copy,
      .copy_across = copy_across,
      .fill = fill,
      .create_stream = create_stream,
      .destroy_stream = destroy_stream,
      .query = query,
      .synchronize = synchronize,
      .create_event = create_event,
      .destroy_event = destroy_event,
      .record = record,
      .query_event = query_event,
      .wait = wait,
      .capturing = capturing,
      .survey = survey,
      .ma = ma,
      .equity = equity,
      .atc = atc,
      .atc_scratch = atc_scratch,
      .atc_stream = atc_stream,
      .atc_stream_scratch = atc_stream_scratch,
      .signals = signals,
      .rows = rows,
      .paths = paths,
      .scenario = scenario,
      .optim = optim,
      .pinn = pinn,
      .surface = surface,
  };
  return instance;
}

}  // namespace wq::cuda
