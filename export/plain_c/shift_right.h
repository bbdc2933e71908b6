#pragma once

#include <stdint.h>

/* value / 2^bits, rounded down; |value| is below 2^28. */
static inline int32_t shift_right(int32_t value, uint8_t bits) { return value >> bits; }
