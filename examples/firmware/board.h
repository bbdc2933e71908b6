/* What main.c needs of a processor. */
#ifndef BOARD_H_
#define BOARD_H_

#include <stdint.h>

#ifdef __AVR__
#include <avr/io.h>
#include <avr/pgmspace.h>
#define GOLDEN_FLASH PROGMEM
#define GOLDEN_U16(place) pgm_read_word(place)
#define GOLDEN_U32(place) pgm_read_dword(place)
#define BOARD_UNIT "cycles"
#else
#define GOLDEN_FLASH
#define GOLDEN_U16(place) (*(place))
#define GOLDEN_U32(place) (*(place))
#define BOARD_UNIT "instructions"
#endif

void board_begin(void);
void board_put(char character);

/* Ends the program, and with it the emulator. */
void board_end(int is_failed);

/* On AVR the clock needs an interrupt, so it starts after the stack has been measured. */
void board_start_clock(void);

/* Ticks since the clock was started; differences are right up to 2^24 of them. */
uint32_t board_clock(void);

/* Tenths of a cycle or an instruction that a tick takes. */
uint16_t board_tenths_a_tick(void);

/* The lowest address that the stack may reach. */
uint8_t *board_end_of_stack(void);

/* The lowest address that the stack has reached where this is called. */
static inline __attribute__((always_inline)) uint8_t *board_stack_pointer(void) {
#ifdef __AVR__
  return (uint8_t *)SP + 1; /* SP is the next free byte */
#else
  uint8_t *address;
  __asm__ volatile("mov %0, sp" : "=r"(address));
  return address;
#endif
}

#endif /* BOARD_H_ */
