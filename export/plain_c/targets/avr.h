#pragma once

#include <stdint.h>

#if defined(__AVR__)
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

/* a b / 2^15, rounded to half of a unit, then half away from zero. */
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

/* The nearest integer of 16 bits. */
static inline int16_t saturate(int32_t value) {
  __asm__(
      "mov __tmp_reg__, %B0\n\t"
      "lsl __tmp_reg__\n\t"
      "sbc __tmp_reg__, __tmp_reg__\n\t"
      "cp %C0, __tmp_reg__\n\t"
      "cpc %D0, __tmp_reg__\n\t"
      "breq 1f\n\t"
      "ldi %A0, 0xFF\n\t"
      "ldi %B0, 0x7F\n\t"
      "sbrc %D0, 7\n\t"
      "com %A0\n\t"
      "sbrc %D0, 7\n\t"
      "com %B0\n"
      "1:\n\t"
      : "+d"(value)
      :
      : "cc");
  return (int16_t)value;
}

/* value / 2^bits, rounded down: whole bytes cost nothing, other shifts go bit by bit. */
static inline int32_t shift_right(int32_t value, uint8_t bits) {
  if ((bits & 7) > 4) {
    value = (int32_t)((uint32_t)value << (8 - (bits & 7)));
    bits = (uint8_t)((bits | 7) + 1);
  }
  value >>= bits & 24;
  __asm__("" : "+r"(value)); /* keeps the two shifts apart */
  return value >> (bits & 7);
}
#endif
