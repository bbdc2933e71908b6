#pragma once

#include <stdint.h>
#include "flash.h"
#include "matrix_cursor.h"
#include "next_of_4_bits.h"

/* Adds a row of a matrix times a vector; a bit tells whether 4 weights of 4 bits are stored. */
static int32_t add_blocks_4_bits(int32_t sum, matrix_cursor *row, const int16_t *values,
                                 uint16_t count) {
  const uint8_t *weights = row->weights;
  uint8_t is_upper = row->is_upper;
  const uint8_t *places = row->places;
  uint_fast16_t bits = row->place; /* those of the next blocks, below a 1 */
  for (; count >= 4; count = (uint16_t)(count - 4), values += 4) {
    if (bits == 1) bits = (uint_fast16_t)(256 | FLASH_U8(places++));
    if (bits & 1) {
      sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[0];
      sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[1];
      sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[2];
      sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[3];
    }
    bits >>= 1;
  }
  if (count > 0) { /* the last block of the row has fewer */
    if (bits == 1) bits = (uint_fast16_t)(256 | FLASH_U8(places++));
    for (; bits & 1 && count > 0; --count) {
      sum += (int32_t)next_of_4_bits(&weights, &is_upper) * *values++;
    }
    bits >>= 1;
  }
  row->places = places;
  row->place = (uint16_t)bits;
  row->weights = weights;
  row->is_upper = is_upper;
  return sum;
}
