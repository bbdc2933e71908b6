#pragma once

#include <stdint.h>
#include "flash.h"
#include "matrix_cursor.h"
#include "next_of_4_bits.h"

/* Adds a row of a matrix times a vector; each stored weight of 4 bits tells where the next is. */
static int32_t add_index_4_bits(int32_t sum, matrix_cursor *row, const int16_t *values,
                                uint16_t count) {
  const uint8_t *weights = row->weights;
  uint8_t is_upper = row->is_upper;
  const uint8_t *places = row->places;
  uint16_t place = row->place;
  while (place < count) {
    sum += (int32_t)next_of_4_bits(&weights, &is_upper) * values[place];
    place = (uint16_t)(place + 1 + FLASH_U8(places++));
  }
  row->places = places;
  row->place = (uint16_t)(place - count);
  row->weights = weights;
  row->is_upper = is_upper;
  return sum;
}
