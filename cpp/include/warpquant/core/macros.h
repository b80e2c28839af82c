// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Code that the CPU loops and the CUDA kernels share. It is forced inline so that it takes the instruction
/// level (or the device) of whoever calls it.
#if defined(__CUDACC__)
#define WQ_HD __host__ __device__ __forceinline__
#else
#define WQ_HD [[gnu::always_inline]] inline
#endif

/// Everything under `cpp/simd/` is compiled once per instruction level. Headers that such files share open
/// `namespace wq::<domain>::inline WQ_LEVEL`, so the copies have different names and the linker can never hand an
/// AVX-512 copy to a caller that must run on a machine without it.
#ifndef WQ_LEVEL
#if defined(__CUDACC__)
#define WQ_LEVEL device
#else
#define WQ_LEVEL host
#endif
#endif

namespace wq::inline WQ_LEVEL {}
