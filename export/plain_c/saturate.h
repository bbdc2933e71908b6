#pragma once

#include <stdint.h>

/* The nearest integer of 16 bits. */
static inline int16_t saturate(int32_t value) {
#ifdef __AVR__
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
#else
  const int16_t low = (int16_t)value;
  return low == value ? low : value < 0 ? INT16_MIN : INT16_MAX;
#endif
}
