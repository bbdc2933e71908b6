#include <stdio.h>
#include <stdlib.h>

#include "model.h"

/* Reads the steps of sequences as integers, and writes the answers after each step. */
int main(int argc, char **argv) {
  static int16_t input[MODEL_INPUT_SIZE], output[MODEL_OUTPUT_SIZE];
  static model_state state;
  const long steps = argc > 1 ? atol(argv[1]) : 1;
  for (long step = 0; fread(input, sizeof input, 1, stdin) == 1; ++step) {
    if (step % steps == 0) model_reset(&state);
    model_step(&state, input);
    model_output(&state, output);
    fwrite(output, sizeof output, 1, stdout);
    if (argc > 2) fwrite(&state, sizeof state, 1, stdout);
  }
  return 0;
}
