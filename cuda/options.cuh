// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/rows.cuh"
#include "warpquant/options/implied.h"
#include "warpquant/options/vanilla.h"

/// Options: functions of rows.
namespace wq::options {

/// Put an operation into a stream.
inline Fault launch_on(const rows::Job& job, cuda::Queue queue) {
  switch (job.group) {
  case rows::GroupId::vanilla:
    return cuda::launch_row<Vanilla>(job, queue);
  case rows::GroupId::implied:
    return cuda::launch_row<ImpliedVols>(job, queue);
  }
  return Fault::invalid;
}

}  // namespace wq::options
