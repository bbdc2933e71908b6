#pragma once

#include <stdint.h>

static inline int16_t clip_wide(int64_t value, int16_t low, int16_t high) {
  return value < low ? low : value > high ? high : (int16_t)value;
}
