#pragma once

#include <stdint.h>

/* Where the next row of a matrix begins. */
typedef struct {
  const uint8_t *weights; /* those that are not zero, or all */
  const uint8_t *places;  /* a bit for each weight, or how many zeros are before the next stored */
  uint16_t place;         /* of the next weight in its row, or bits that are left, below a 1 */
  uint8_t is_upper;       /* which half of the byte holds the next weight of 4 bits */
} matrix_cursor;
