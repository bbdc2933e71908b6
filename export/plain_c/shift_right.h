#pragma once

#include <stdint.h>

/* value / 2^bits, rounded down; |value| is below 2^28. */
static inline int32_t shift_right(int32_t value, uint8_t bits) {
#ifdef __AVR__ /* which shifts by whole bytes at no cost, and else bit by bit */
  if ((bits & 7) > 4) {
    value = (int32_t)((uint32_t)value << (8 - (bits & 7)));
    bits = (uint8_t)((bits | 7) + 1);
  }
  value >>= bits & 24;
  __asm__("" : "+r"(value)); /* keeps the two shifts apart */
  return value >> (bits & 7);
#else
  return value >> bits;
#endif
}
