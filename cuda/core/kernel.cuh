// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "warpquant/core/backend.h"
#include "warpquant/core/macros.h"

/// What kernels are written with. They compile with nvcc, and with the host compiler for the emulator: launches go
/// through `launch`, shared memory through the macros, warp operations are the `_sync` ones.
namespace wq::cuda {

/// Where launches go.
struct Queue {
  int device;
  Handle stream;
};

}  // namespace wq::cuda

#if defined(__CUDACC__)

#include "core/runtime.h"

#define WQ_SHARED(T, name, count) __shared__ T name[count]
#define WQ_DYNAMIC_SHARED(T, name)                               \
  extern __shared__ __align__(16) std::byte wq_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(wq_dynamic_shared)

namespace wq::cuda {

template <class... Parameters, class... Arguments>
Fault launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Queue queue,
             const Arguments&... arguments) {
  constexpr std::size_t kWithoutAsking = 32 * 1024;  // 48 KiB, less what the kernel has by itself
  if (shared_bytes > kWithoutAsking) {
    // All there is, not what this launch needs: other threads launch the same kernel.
    cudaFuncAttributes own{};
    int most = 0;
    cudaError_t error = cudaFuncGetAttributes(&own, kernel);
    if (error == cudaSuccess)
      error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, queue.device);
    if (error == cudaSuccess)
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   most - static_cast<int>(own.sharedSizeBytes));
    if (error != cudaSuccess) return fault_of(error);
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(queue.stream)>>>(arguments...);
  return fault_of(cudaGetLastError());
}

}  // namespace wq::cuda

#else

#include "emulator.h"

namespace wq::cuda {

/// Puts the kernel into the queue of a simulated stream.
Fault enqueue(Queue queue, void (*run)(const void*), const void* closure, std::size_t bytes);

template <class... Parameters, class... Arguments>
Fault launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Queue queue,
             const Arguments&... arguments) {
  const auto work = [=] { emulator::launch(kernel, grid, block, shared_bytes, arguments...); };
  static_assert(std::is_trivially_copyable_v<decltype(work)>, "arguments of kernels are plain values");
  return enqueue(queue, [](const void* w) { (*static_cast<const decltype(work)*>(w))(); }, &work, sizeof work);
}

}  // namespace wq::cuda

#endif

namespace wq::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kEveryLane = 0xffffffffu;

}  // namespace wq::cuda
