// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#if defined(WQ_NVTX)
#include <nvtx3/nvtx3.hpp>
#endif

#include "warpquant/core/backend.h"

/// The CUDA runtime behind the table's functions.
namespace wq::cuda {

/// The table's word for an error of the runtime, whose text is kept for `message`.
Fault fault_of(cudaError_t error);

/// Run `f` with the device current, and leave the caller's current afterwards.
template <class F>
Fault on_device(int device, F f) {
  int before = 0;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess && before != device) error = cudaSetDevice(device);
  if (error != cudaSuccess) return fault_of(error);
  const Fault fault = f();
  if (before != device) cudaSetDevice(before);
  return fault;
}

const BackendTable& table();

Fault survey(int device, const Series* series, std::int64_t count, DType type, Flaws* flaws, Handle stream);

// The domains' entries, each in its own file.
Fault ma(int device, const ma::Launch& launch, Handle stream);
Fault equity(int device, const equity::Launch& launch, Handle stream);
Fault atc(int device, const atc::Launch& launch, Handle stream);
std::size_t atc_scratch(int device, const atc::Run& run);
Fault atc_stream(int device, const atc::StreamLaunch& launch, Handle stream);
std::size_t atc_stream_scratch(const atc::Run& run, std::int64_t groups);
Fault signals(int device, const signals::Launch& launch, Handle stream);
Fault rows(int device, const rows::Job& job, Handle stream);
Fault paths(int device, const paths::Launch& launch, Handle stream);
Fault scenario(int device, const options::scenario::Launch& launch, Handle stream);
Fault optim(int device, const optim::Launch& launch, Handle stream);
Fault pinn(int device, const pinn::Launch& launch, Handle stream);
Fault surface(int device, const surface::Launch& launch, Handle stream);

}  // namespace wq::cuda

/// WQ_RANGE("ma"): a range of that name on the time line of a profiler, to the end of the block. Nothing at all unless
/// built with WQ_NVTX=ON.
#if defined(WQ_NVTX)
namespace wq::cuda {
struct NvtxDomain {
  static constexpr const char* name = "warpquant";
};
}  // namespace wq::cuda
#define WQ_RANGE(name) const nvtx3::scoped_range_in<wq::cuda::NvtxDomain> wq_range(name)
#else
#define WQ_RANGE(name) static_cast<void>(0)
#endif
