#pragma once

#include <stdint.h>
#include "flash.h"
#include "matrix_cursor.h"
#include "next_of_4_bits.h"

/* Adds a row of a matrix times a vector; a bitmap tells which weights of 4 bits are stored. */
static int32_t add_bitmap_4_bits(int32_t sum, matrix_cursor *row, const int16_t *values,
                                 uint16_t count) {
  const uint8_t *weights = row->weights;
  uint8_t is_upper = row->is_upper;
  const uint8_t *places = row->places;
  for (; count >= 8; count = (uint16_t)(count - 8), values += 8) {
    const uint8_t bits = FLASH_U8(places++);
    if (bits & 1) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[0];
    if (bits & 2) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[1];
    if (bits & 4) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[2];
    if (bits & 8) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[3];
    if (bits & 16) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[4];
    if (bits & 32) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[5];
    if (bits & 64) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[6];
    if (bits & 128) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[7];
  }
  if (count > 0) {
    /* Columns of several rows share a byte: the lowest bits are those of this row. */
    uint_fast16_t left = row->place;
    uint_fast16_t others = left >> count;
    if (others == 0) { /* the row needs the next byte, below what is left of the last one */
      left = (uint_fast16_t)(left << 8 | FLASH_U8(places++));
      others = left >> count;
    }
    row->place = (uint16_t)others;
    uint_fast8_t bits = (uint_fast8_t)(left ^ others << count);
    for (; bits != 0; bits = (uint_fast8_t)(bits >> 1), ++values) {
      if (bits & 1) sum += (int32_t)next_of_4_bits(&weights, &is_upper) * *values;
    }
  }
  row->places = places;
  row->weights = weights;
  row->is_upper = is_upper;
  return sum;
}
