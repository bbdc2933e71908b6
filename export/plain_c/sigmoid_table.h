#pragma once

#include <stdint.h>
#include "flash.h"

/* 2^16 / (1 + exp(-i / 24)), the numbers of TensorFlow Lite. */
static const uint16_t sigmoid_table[256] FLASH;
