// SPDX-License-Identifier: Apache-2.0
#include "atc_stream.cuh"

namespace wq::cuda {

Fault atc_stream(int device, const atc::StreamLaunch& launch, Handle stream) {
  WQ_RANGE("atc.Stream");
  return on_device(device, [&] { return wq::atc::launch_stream_on(launch, {device, stream}); });
}

std::size_t atc_stream_scratch(const atc::Run& run, std::int64_t groups) {
  return wq::atc::stream_scratch_on(run, groups);
}

}  // namespace wq::cuda
