// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Code that the CPU loops and the CUDA kernels share. It is forced inline so that it takes the instruction
/// level (or the device) of whoever calls it.
#if defined(__CUDACC__)
#define WQ_HD __host__ __device__ __forceinline__
#define WQ_HD_CALL __host__ __device__ __noinline__
#define WQ_HD_NOINLINE __host__ __device__ __noinline__
#define WQ_UNROLL(times)
#define WQ_ROLLED _Pragma("unroll 1")
#else
#define WQ_HD [[gnu::always_inline]] inline
#define WQ_HD_CALL                        // functions large enough to be called
#define WQ_HD_NOINLINE [[gnu::noinline]]  // loops that keep in registers what they work on
#define WQ_UNROLL_TEXT(text) _Pragma(#text)
#define WQ_UNROLL(times) WQ_UNROLL_TEXT(GCC unroll times)
#define WQ_ROLLED  // a loop whose copies would take minutes to compile for a device
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
