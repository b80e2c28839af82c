// SPDX-License-Identifier: Apache-2.0
// Counts what a process asks the C library for, for tests/test_surface_stream.py: preloaded, it stands before the
// library's own functions (glibc), which operator new calls, too.
#include <atomic>
#include <cstddef>

extern "C" {

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

static std::atomic<long> asked{0};

long allocations() { return asked.load(); }

void* malloc(std::size_t size) {
  ++asked;
  return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) {
  ++asked;
  return __libc_calloc(count, size);
}

void* realloc(void* memory, std::size_t size) {
  ++asked;
  return __libc_realloc(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++asked;
  return __libc_memalign(alignment, size);
}

void* memalign(std::size_t alignment, std::size_t size) {
  ++asked;
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  ++asked;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? 12 : 0;  // ENOMEM
}

}  // extern "C"
