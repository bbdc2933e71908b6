#pragma once

#include <stdint.h>
#include "shift_right.h"

/* value / 2^bits, for bits above 0; half is rounded away from zero. */
static inline int32_t round_shift(int32_t value, uint8_t bits) {
  return shift_right(value + ((int32_t)1 << (bits - 1)) - (value < 0), bits);
}
