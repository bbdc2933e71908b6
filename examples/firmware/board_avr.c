/* ATmega328P: text over the UART, cycles from timer 1. */
#include <avr/interrupt.h>
#include <avr/sleep.h>

#include "board.h"

static volatile uint16_t overflows;

ISR(TIMER1_OVF_vect) { ++overflows; }

void board_begin(void) {
  UCSR0A = 1 << U2X0; /* 2 million bits a second at 16 MHz */
  UCSR0B = 1 << TXEN0;
}

void board_put(char character) {
  while (!(UCSR0A & (1 << UDRE0))) {
  }
  UCSR0A |= 1 << TXC0;
  UDR0 = (uint8_t)character;
}

void board_end(int is_failed) {
  (void)is_failed;
  while (!(UCSR0A & (1 << TXC0))) {
  }
  cli();
  sleep_enable();
  sleep_cpu(); /* without interrupts nothing can wake it: simavr ends */
}

void board_start_clock(void) {
  TCCR1A = 0;
  TCCR1B = 1 << CS10; /* a tick is a cycle */
  TIMSK1 = 1 << TOIE1;
  sei();
}

uint32_t board_clock(void) {
  cli();
  const uint16_t low = TCNT1;
  uint16_t high = overflows;
  if ((TIFR1 & (1 << TOV1)) && low < 0x8000) ++high; /* the interrupt is about to come */
  sei();
  return ((uint32_t)high << 16) | low;
}

uint16_t board_tenths_a_tick(void) { return 10; }

uint8_t *board_end_of_stack(void) {
  extern uint8_t __heap_start; /* of the linker: where the variables end */
  return &__heap_start;
}
