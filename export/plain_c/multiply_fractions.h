#pragma once

#include <stdint.h>

/* a b / 2^15, rounded to half of a unit, then half away from zero. */
#ifdef __AVR__
static inline int16_t multiply_fractions(int16_t a, int16_t b) {
  int32_t product;
  int16_t half;
  uint8_t zero;
  __asm__(
      "clr %[zero]\n\t"
      "muls %B[a], %B[b]\n\t"
      "movw %C[product], r0\n\t"
      "mul %A[a], %A[b]\n\t"
      "movw %A[product], r0\n\t"
      "mulsu %B[a], %A[b]\n\t"
      "sbc %D[product], %[zero]\n\t"
      "add %B[product], r0\n\t"
      "adc %C[product], r1\n\t"
      "adc %D[product], %[zero]\n\t"
      "mulsu %B[b], %A[a]\n\t"
      "sbc %D[product], %[zero]\n\t"
      "add %B[product], r0\n\t"
      "adc %C[product], r1\n\t"
      "adc %D[product], %[zero]\n\t"
      "clr __zero_reg__\n\t"
      "ldi %A[half], 0x01\n\t"
      "ldi %B[half], 0x40\n\t"
      "sbrc %D[product], 7\n\t"
      "ldi %A[half], 0xFF\n\t"
      "sbrc %D[product], 7\n\t"
      "ldi %B[half], 0x3F\n\t"
      "add %A[product], %A[half]\n\t"
      "adc %B[product], %B[half]\n\t"
      "adc %C[product], %[zero]\n\t"
      "adc %D[product], %[zero]\n\t"
      "lsl %B[product]\n\t"
      "rol %C[product]\n\t"
      "rol %D[product]\n\t"
      : [product] "=&r"(product), [half] "=&d"(half), [zero] "=&r"(zero)
      : [a] "a"(a), [b] "a"(b)
      : "cc");
  return (int16_t)(product >> 16);
}
#else
static inline int16_t multiply_fractions(int16_t a, int16_t b) {
  const int32_t product = (int32_t)a * b;
  return (int16_t)((product + (product < 0 ? 16383 : 16385)) >> 15);
}
#endif
