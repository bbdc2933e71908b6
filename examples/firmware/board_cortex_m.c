/* Cortex-M in QEMU: start, text by semihosting, time from SysTick.

   With QEMU's -icount shift=0 an instruction takes one nanosecond, and SysTick counts at the clock
   rate of the board; how many instructions a tick is, a loop of known length tells. */
#include "board.h"

#define SYS_WRITEC 0x03
#define SYS_EXIT 0x18
#define APPLICATION_EXIT 0x20026
#define RUN_TIME_ERROR 0x20023

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014)
#define SYSTICK_CURRENT (*(volatile uint32_t *)0xE000E018)
#define SYSTICK_ENABLE 1u
#define SYSTICK_PROCESSOR_CLOCK 4u
#define SYSTICK_LARGEST 0xFFFFFFu

extern uint32_t start_of_data, end_of_data, data_in_flash, start_of_bss, end_of_bss, top_of_stack;

int main(void);
void reset_handler(void);
void fault_handler(void);

typedef void (*handler)(void);

/* The initial stack pointer, and the handlers up to SysTick's. */
__attribute__((section(".vectors"), used)) static const struct {
  void *stack;
  handler handlers[15];
} vectors = {
    &top_of_stack,
    {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, 0, 0,
     0, 0, fault_handler, fault_handler, 0, fault_handler, fault_handler},
};

static void semihosting(uint32_t operation, uint32_t argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register uint32_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void reset_handler(void) {
  const uint32_t *source = &data_in_flash;
  for (uint32_t *place = &start_of_data; place < &end_of_data; ++place) *place = *source++;
  for (uint32_t *place = &start_of_bss; place < &end_of_bss; ++place) *place = 0;
  board_end(main());
}

void fault_handler(void) {
  for (const char *text = "FAIL by a fault of the processor\n"; *text; ++text) board_put(*text);
  board_end(1);
}

void board_begin(void) {}

void board_put(char character) { semihosting(SYS_WRITEC, (uint32_t)&character); }

void board_end(int is_failed) {
  semihosting(SYS_EXIT, is_failed ? RUN_TIME_ERROR : APPLICATION_EXIT);
  for (;;) {
  }
}

void board_start_clock(void) {
  SYSTICK_RELOAD = SYSTICK_LARGEST;
  SYSTICK_CURRENT = 0;
  SYSTICK_CONTROL = SYSTICK_ENABLE | SYSTICK_PROCESSOR_CLOCK;
}

uint32_t board_clock(void) { return SYSTICK_LARGEST - SYSTICK_CURRENT; }

uint16_t board_tenths_a_tick(void) {
  uint32_t count = 500000;
  const uint32_t begin = board_clock();
  __asm__ volatile(
      ".syntax unified\n"
      "1: subs %0, #1\n"
      "   bne 1b\n"
      : "+l"(count)
      :
      : "cc");
  const uint32_t ticks = (board_clock() - begin) & SYSTICK_LARGEST;
  return (uint16_t)((10000000 + ticks / 2) / ticks); /* of two instructions, 500,000 times */
}

uint8_t *board_end_of_stack(void) { return (uint8_t *)&end_of_bss; }
