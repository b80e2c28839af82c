// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

namespace wq {

/// Guards the books of all memory: accounts, free lists, blocks in use, logs. One for all of them, so that forks need
/// hold one. It is never held while somebody else's code runs: a resource below, a callback, the language above.
std::mutex& memory_books();

}  // namespace wq
