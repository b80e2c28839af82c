// SPDX-License-Identifier: Apache-2.0
#include "atc.cuh"

namespace wq::cuda {

std::size_t atc_scratch(int device, const atc::Run& run) {
  int most = 0;
  if (cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
    cudaGetLastError();
    most = 0;
  }
  return wq::atc::scratch_on(run, static_cast<std::size_t>(most));
}

Fault atc(int device, const atc::Launch& launch, Handle stream) {
  WQ_RANGE("atc");
  return on_device(device, [&] { return wq::atc::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
