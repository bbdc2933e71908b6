#pragma once

#include <stdint.h>
#include "flash.h"
#include "sigmoid_table.h"

/* 2^15 / (1 + exp(-x)), where 3 * 2^12 stands for an x of 1. */
static int16_t logistic(int32_t x) {
  const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
  uint16_t result = 32767;
  if (magnitude < (uint32_t)255 << 9) {
    const uint16_t index = (uint16_t)((uint16_t)(magnitude >> 8) >> 1);
    const uint16_t low = FLASH_U16(&sigmoid_table[index]);
    const uint16_t slope = (uint16_t)(FLASH_U16(&sigmoid_table[index + 1]) - low);
    const uint32_t part = (uint32_t)((uint16_t)magnitude & 511) * slope + 512;
    result = (uint16_t)((uint16_t)(low + ((uint16_t)(part >> 8) >> 1)) >> 1);
  }
  return (int16_t)(x < 0 ? 32768 - result : result);
}
