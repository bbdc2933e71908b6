#pragma once

#include <stdint.h>
#include "flash.h"
#include "sigmoid_table.h"

/* 2^15 tanh(x), where 3 * 2^12 stands for an x of 1. */
static int16_t hyperbolic_tangent(int32_t x) {
  const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
  uint16_t result = 32767;
  if (magnitude < (uint32_t)255 << 8) {
    const uint8_t index = (uint8_t)(magnitude >> 8);
    const uint16_t low = FLASH_U16(&sigmoid_table[index]);
    const uint16_t slope = (uint16_t)(FLASH_U16(&sigmoid_table[index + 1]) - low);
    const uint32_t part = (uint32_t)(uint8_t)magnitude * slope + 128;
    result = (uint16_t)(low - 32768U + (uint16_t)(part >> 8));
  }
  return (int16_t)(x < 0 ? -(int16_t)result : (int16_t)result);
}
