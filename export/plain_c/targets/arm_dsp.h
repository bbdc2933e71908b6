#pragma once

#include <stdint.h>

/* Cortex-M4, M7, M33 and others that multiply two pairs of 16 bits at once. */
#if defined(__ARM_FEATURE_SIMD32) && defined(__GNUC__) && !defined(__ARM_BIG_ENDIAN)
/* Adds a row of a matrix times a vector: 4 entries in 12 instructions. */
static inline int32_t add_dense(int32_t sum, const int8_t **row, const int16_t *values,
                                uint8_t count) {
  const int8_t *weights = *row;
  for (; count >= 4; count = (uint8_t)(count - 4), weights += 4, values += 4) {
    uint32_t four, first, last, even, odd, low, high;
    __builtin_memcpy(&four, weights, 4);
    __builtin_memcpy(&first, values, 4);
    __builtin_memcpy(&last, values + 2, 4);
    __asm__(
        "sxtb16 %[even], %[four]\n\t"
        "sxtb16 %[odd], %[four], ror #8\n\t"
        "pkhbt %[low], %[even], %[odd], lsl #16\n\t"
        "pkhtb %[high], %[odd], %[even], asr #16\n\t"
        "smlad %[sum], %[low], %[first], %[sum]\n\t"
        "smlad %[sum], %[high], %[last], %[sum]"
        :
        [sum] "+r"(sum), [even] "=&r"(even), [odd] "=&r"(odd), [low] "=&r"(low), [high] "=&r"(high)
        : [four] "r"(four), [first] "r"(first), [last] "r"(last));
  }
  for (; count > 0; --count) sum += (int32_t)*weights++ * *values++;
  *row = weights;
  return sum;
}
#endif
