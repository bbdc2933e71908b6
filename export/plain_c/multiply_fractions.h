#pragma once

#include <stdint.h>

/* a b / 2^15, rounded to half of a unit, then half away from zero. */
static inline int16_t multiply_fractions(int16_t a, int16_t b) {
  const int32_t product = (int32_t)a * b;
  return (int16_t)((product + (product < 0 ? 16383 : 16385)) >> 15);
}
