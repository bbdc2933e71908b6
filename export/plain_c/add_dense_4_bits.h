#pragma once

#include <stdint.h>
#include "flash.h"
#include "matrix_cursor.h"
#include "next_of_4_bits.h"

/* Adds a row of a matrix times a vector; all weights of 4 bits are stored. */
static int32_t add_dense_4_bits(int32_t sum, matrix_cursor *row, const int16_t *values,
                                uint16_t count) {
  const uint8_t *weights = row->weights;
  uint8_t is_upper = row->is_upper;
  for (; count > 0; --count) {
    sum += (int32_t)next_of_4_bits(&weights, &is_upper) * *values++;
  }
  row->weights = weights;
  row->is_upper = is_upper;
  return sum;
}
