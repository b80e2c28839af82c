// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/rows.cuh"
#include "warpquant/options/american.h"
#include "warpquant/options/asian.h"
#include "warpquant/options/barrier.h"
#include "warpquant/options/digital.h"
#include "warpquant/options/grid.h"
#include "warpquant/options/heston_fourier.h"
#include "warpquant/options/implied.h"
#include "warpquant/options/jumps.h"
#include "warpquant/options/lookback.h"
#include "warpquant/options/multi.h"
#include "warpquant/options/vanilla.h"
#include "warpquant/surface/sabr.h"
#include "warpquant/surface/slices.h"

#if defined(__CUDACC__)
extern template wq::Fault wq::cuda::launch_row<wq::options::AmericanFamily>(const wq::rows::Job&, wq::cuda::Queue);
#endif

/// Options and surfaces: functions of rows.
namespace wq::options {

/// Put an operation into a stream.
inline Fault launch_on(const rows::Job& job, cuda::Queue queue) {
  switch (job.group) {
  case rows::GroupId::vanilla:
    return cuda::launch_row<Vanilla>(job, queue);
  case rows::GroupId::implied:
    return cuda::launch_row<ImpliedVols>(job, queue);
  case rows::GroupId::digitals:
    return cuda::launch_row<Digitals>(job, queue);
  case rows::GroupId::barriers:
    return cuda::launch_row<Barriers>(job, queue);
  case rows::GroupId::lookback:
    return cuda::launch_row<Lookbacks>(job, queue);
  case rows::GroupId::asians:
    return cuda::launch_row<Asians>(job, queue);
  case rows::GroupId::multi:
    return cuda::launch_row<Multi>(job, queue);
  case rows::GroupId::jumps:
    return cuda::launch_row<Jumps>(job, queue);
  case rows::GroupId::fourier:
    return cuda::launch_row<Fourier>(job, queue);
  case rows::GroupId::slices:
    return cuda::launch_row<surface::Slices>(job, queue);
  case rows::GroupId::sabrs:
    return cuda::launch_row<surface::Sabrs>(job, queue);
  case rows::GroupId::american:
    return cuda::launch_row<AmericanFamily>(job, queue);
  case rows::GroupId::numerical:
    return cuda::launch_row<Numerical>(job, queue);
  case rows::GroupId::pinn:
    break;  // has an entry of its own
  }
  return Fault::invalid;
}

}  // namespace wq::options
