// SPDX-License-Identifier: Apache-2.0
#include "options.cuh"

/// American options take the compiler as long as everything else together.
template wq::Fault wq::cuda::launch_row<wq::options::AmericanFamily>(const wq::rows::Job&, wq::cuda::Queue);
