#pragma once

#include <stdint.h>
#include "flash.h"

/* Adds a row of a matrix times a vector. */
static inline int32_t add_dense(int32_t sum, const int8_t **row, const int16_t *values,
                                uint8_t count) {
  const int8_t *weights = *row;
  for (; count > 0; --count) {
    sum += (int32_t)(int8_t)FLASH_U8(weights++) * *values++;
  }
  *row = weights;
  return sum;
}
