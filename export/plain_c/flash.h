#pragma once

#include <stdint.h>

#ifdef __AVR__
#include <avr/pgmspace.h>
#define FLASH PROGMEM
#define FLASH_U8(place) pgm_read_byte(place)
#define FLASH_U16(place) pgm_read_word(place)
#define FLASH_U32(place) pgm_read_dword(place)
#define FLASH_U64(place) \
  ((uint64_t)FLASH_U32((const uint8_t *)(place) + 4) << 32 | FLASH_U32(place))
#else
#define FLASH
#define FLASH_U8(place) (*(place))
#define FLASH_U16(place) (*(place))
#define FLASH_U32(place) (*(place))
#define FLASH_U64(place) (*(place))
#endif
