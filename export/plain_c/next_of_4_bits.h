#pragma once

#include <stdint.h>
#include "flash.h"

/* Two weights a byte, the first in the lower bits. */
static inline int8_t next_of_4_bits(const uint8_t **weights, uint8_t *is_upper) {
  uint8_t bits = FLASH_U8(*weights);
  if (*is_upper) {
    bits = (uint8_t)(bits >> 4);
    ++*weights;
  }
  *is_upper = !*is_upper;
  return (int8_t)(((bits & 15) ^ 8) - 8);
}
