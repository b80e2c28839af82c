// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/words.h"

/// Random bits that are a function of a counter and a key: no state, so any number of any path is there at once, and
/// the same on every machine. Philox4x32-10: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2,
/// 3, SC11 (2011). Words of 32 bits are in the low halves of those of 64; what is in the high ones does not matter,
/// except to `as_uniform` and `>>`.
namespace wq::inline WQ_LEVEL {

/// (2k + 1) / 2^53 where k is the number of the 52 low bits: within (0, 1), symmetric about 1/2, and exact.
WQ_HD double as_uniform(std::uint64_t k) {
  return __builtin_bit_cast(double, k | 0x3ff0000000000000ULL) - (1.0 - 0x1p-53);
}

template <class U>
struct PhiloxBlock {
  U words[4];
};

/// The keys of all rounds, which come from the first.
struct PhiloxKeys {
  std::uint64_t of[10][2] = {};

  PhiloxKeys() = default;
  PhiloxKeys(std::uint32_t key0, std::uint32_t key1) {
    for (auto& pair : of) {
      pair[0] = key0;
      pair[1] = key1;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
  }
};

/// The four words of a counter.
template <class U>
WQ_HD PhiloxBlock<U> philox(PhiloxBlock<U> counter, const PhiloxKeys& keys) {
  U x0 = counter.words[0], x1 = counter.words[1], x2 = counter.words[2], x3 = counter.words[3];
  WQ_UNROLL(10)
  for (int round = 0; round < 10; ++round) {
    const U p0 = multiply(x0, 0xD2511F53u), p1 = multiply(x2, 0xCD9E8D57u);
    x0 = (p1 >> 32) ^ x1 ^ U(keys.of[round][0]);
    x1 = p1;
    x2 = (p0 >> 32) ^ x3 ^ U(keys.of[round][1]);
    x3 = p0;
  }
  return {{low_half(x0), low_half(x1), low_half(x2), low_half(x3)}};
}

/// 52 bits of two words.
template <class U>
WQ_HD U bits_of(U high, U low) {
  return (high << 20) | (low >> 12);
}

}  // namespace wq::inline WQ_LEVEL
