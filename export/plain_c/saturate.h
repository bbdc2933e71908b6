#pragma once

#include <stdint.h>

/* The nearest integer of 16 bits. */
static inline int16_t saturate(int32_t value) {
  const int16_t low = (int16_t)value;
  return low == value ? low : value < 0 ? INT16_MIN : INT16_MAX;
}
