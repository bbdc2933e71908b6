#pragma once

#include <stdint.h>

/* The same as round_shift, where the sum has 32 bits. */
static inline int32_t round_shift_large(int32_t value, uint8_t bits) {
  return (value + ((int32_t)1 << (bits - 1)) - (value < 0)) >> bits;
}
