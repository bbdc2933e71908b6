/* A self-test of a generated model on a bare device.

   It replays golden sequences and compares every number of the state and the answers after every
   step; runs on from there with inputs of its own, and compares checksums; and measures what a step
   costs. One line tells the result. golden.h names the model. */
#include "board.h"
#include "golden.h"

#define STATE_SIZE (TESTED_STATE_BYTES / 2)

static tested_state state;
static int16_t input[TESTED_INPUT_SIZE];
static int16_t logits[TESTED_OUTPUT_SIZE];

static uint32_t compared, differences;

/* The sums of ticks over the long run: right up to 429,000 a step, in 10,000 steps. */
static uint32_t clock_ticks, step_ticks, output_ticks;
static uint16_t long_run_steps;

static void put_text(const char *text) {
  for (; *text; ++text) board_put(*text);
}

static void put_number(uint32_t number) {
  if (number >= 10) put_number(number / 10);
  board_put((char)('0' + number % 10));
}

static void put_tenths(uint32_t tenths) {
  put_number(tenths / 10);
  board_put('.');
  board_put((char)('0' + tenths % 10));
}

static void compare(uint32_t got, uint32_t expected) {
  ++compared;
  if (got != expected) ++differences;
}

static void compare_vector(const int16_t *got, const int16_t *expected, uint16_t count) {
  for (uint16_t i = 0; i < count; ++i) compare((uint16_t)got[i], GOLDEN_U16(&expected[i]) & 0xFFFF);
}

static void replay(void) {
  const int16_t *inputs = golden_inputs, *states = golden_states, *answers = golden_logits;
  for (int step = 0; step < GOLDEN_SEQUENCES * GOLDEN_STEPS; ++step) {
    if (step % GOLDEN_STEPS == 0) tested_reset(&state);
    for (uint16_t i = 0; i < TESTED_INPUT_SIZE; ++i) input[i] = (int16_t)GOLDEN_U16(inputs++);
    tested_step(&state, input);
    compare_vector((const int16_t *)&state, states, STATE_SIZE);
    tested_output(&state, logits);
    compare_vector(logits, answers, TESTED_OUTPUT_SIZE);
    compare(tested_classify(&state), GOLDEN_U16(&golden_classes[step]));
    states += STATE_SIZE;
    answers += TESTED_OUTPUT_SIZE;
  }
}

/* Inputs from a linear congruential generator, of a kind that changes with every block of steps:
   small, any, at either end of the range, all at one end. */
static uint32_t drawn;

static void generate_input(int block) {
  for (uint16_t i = 0; i < TESTED_INPUT_SIZE; ++i) {
    drawn = drawn * 1664525u + 1013904223u;
    const int16_t any = (int16_t)(drawn >> 16);
    switch (block % 4) {
      case 0: input[i] = any >> 4; break;
      case 1: input[i] = any; break;
      case 2: input[i] = any < 0 ? -32767 : 32767; break;
      default: input[i] = block % 8 == 3 ? 32767 : -32767;
    }
  }
}

static uint32_t add_vector(uint32_t checksum, const int16_t *values, uint16_t count) {
  for (uint16_t i = 0; i < count; ++i) checksum = checksum * 31 + (uint16_t)values[i];
  return checksum;
}

static void run_long(void) {
  uint32_t checksum = 0;
  tested_reset(&state);
  drawn = 1;
  for (int block = 0; block < LONG_RUN_BLOCKS; ++block) {
    for (int step = 0; step < LONG_RUN_BLOCK_STEPS; ++step) {
      generate_input(block);
      const uint32_t at_first = board_clock();
      const uint32_t before = board_clock();
      tested_step(&state, input);
      const uint32_t between = board_clock();
      tested_output(&state, logits);
      const uint32_t after = board_clock();
      clock_ticks += (before - at_first) & 0xFFFFFF;
      step_ticks += (between - before) & 0xFFFFFF;
      output_ticks += (after - between) & 0xFFFFFF;
      ++long_run_steps;
      checksum = add_vector(checksum, (const int16_t *)&state, STATE_SIZE);
      checksum = add_vector(checksum, logits, TESTED_OUTPUT_SIZE);
    }
    compare(checksum, GOLDEN_U32(&golden_checksums[block]));
  }
}

static void call_step(void) { tested_step(&state, input); }

static void call_output(void) { tested_output(&state, logits); }

static void call_classify(void) { logits[0] = (int16_t)tested_classify(&state); }

/* How many bytes of stack a function takes at most, by what is left of paint below it. */
static uint16_t stack_of(void (*call)(void)) {
  const uint8_t paint = 0xC5;
  uint16_t most = 0;
  for (uint8_t times = 0; times < 10; ++times) {
    uint8_t *const top = board_stack_pointer();
    volatile uint8_t *place;
    for (place = board_end_of_stack(); place < top; ++place) *place = paint;
    call();
    for (place = board_end_of_stack(); place < top && *place == paint; ++place) {
    }
    const uint16_t used = (uint16_t)(top - place);
    if (used > most) most = used;
  }
  return most;
}

/* What a step of the long run took, without the clock's own ticks. */
static void put_average(uint32_t ticks) {
  const uint32_t steps = long_run_steps ? long_run_steps : 1;
  const uint16_t tenths = board_tenths_a_tick();
  const uint32_t own = ticks > clock_ticks ? ticks - clock_ticks : 0;
  put_tenths(own / steps * tenths + own % steps * tenths / steps);
  put_text(" " BOARD_UNIT);
}

int main(void) {
  board_begin();
  replay();
  generate_input(1);
  const uint16_t step = stack_of(call_step);
  const uint16_t output = stack_of(call_output);
  const uint16_t classify = stack_of(call_classify);
  board_start_clock();
  run_long();

  put_text(differences ? "FAIL " : "PASS ");
  put_number(differences);
  put_text(" of ");
  put_number(compared);
  put_text(" numbers differ; step ");
  put_average(step_ticks);
  put_text(", output ");
  put_average(output_ticks);
  put_text("; tick ");
  put_tenths(board_tenths_a_tick());
  put_text("; flash ");
  put_number(TESTED_FLASH_BYTES);
  put_text(" bytes; state ");
  put_number(TESTED_STATE_BYTES);
  put_text(", stack of step ");
  put_number(step);
  put_text(", output ");
  put_number(output);
  put_text(", classify ");
  put_number(classify);
  put_text("; RAM ");
  put_number(TESTED_STATE_BYTES + (step > output ? step : output));
  put_text(" bytes\n");
  board_end(differences != 0);
  return differences != 0;
}
