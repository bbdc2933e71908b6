#pragma once

#include <stdint.h>
#include "flash.h"

#ifdef __AVR__
/* Adds a row of a matrix in flash times a vector: 22 cycles an entry. */
static inline int32_t add_dense(int32_t sum, const int8_t **row, const int16_t *values,
                                uint8_t count) {
  const int8_t *weights = *row;
  int8_t weight, sign;
  uint8_t low, high;
  __asm__ volatile(
      "1:\n\t"
      "lpm %[weight], Z+\n\t"
      "ld %[low], X+\n\t"
      "ld %[high], X+\n\t"
      "mulsu %[weight], %[low]\n\t"
      "sbc %[sign], %[sign]\n\t"
      "add %A[sum], r0\n\t"
      "adc %B[sum], r1\n\t"
      "adc %C[sum], %[sign]\n\t"
      "adc %D[sum], %[sign]\n\t"
      "muls %[weight], %[high]\n\t"
      "sbc %[sign], %[sign]\n\t"
      "add %B[sum], r0\n\t"
      "adc %C[sum], r1\n\t"
      "adc %D[sum], %[sign]\n\t"
      "dec %[count]\n\t"
      "brne 1b\n\t"
      "clr __zero_reg__\n\t"
      : [sum] "+r"(sum), [weights] "+z"(weights), [values] "+x"(values), [count] "+r"(count),
        [weight] "=&a"(weight), [low] "=&a"(low), [high] "=&d"(high), [sign] "=&r"(sign)
      :
      : "memory", "cc");
  *row = weights;
  return sum;
}
#else
/* Adds a row of a matrix times a vector. */
static inline int32_t add_dense(int32_t sum, const int8_t **row, const int16_t *values,
                                uint8_t count) {
  const int8_t *weights = *row;
  for (; count > 0; --count) {
    sum += (int32_t)(int8_t)FLASH_U8(weights++) * *values++;
  }
  *row = weights;
  return sum;
}
#endif
