#pragma once
#include <stddef.h>
#include <stdint.h>

/// The CRC-32C (Castagnoli) of `count` bytes, going on from `crc` (0 begins). Uses SSE4.2 where the CPU has it.
uint32_t lamina_crc32c(uint32_t crc, const void *bytes, size_t count);
/// The same from a table, for CPUs without the instruction and for the test that compares both.
uint32_t lamina_crc32c_portable(uint32_t crc, const void *bytes, size_t count);
