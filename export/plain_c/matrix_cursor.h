#pragma once

#include <stdint.h>

/* Where the next row of a matrix begins. */
typedef struct {
  const uint8_t *weights; /* those that are stored */
  const uint8_t *places;  /* what tells their places, as the function that adds a row reads it */
  uint16_t place;         /* where that function stands in it */
  uint8_t is_upper;       /* which half of the byte holds the next weight of 4 bits */
} matrix_cursor;
