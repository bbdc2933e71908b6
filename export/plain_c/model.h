#pragma once

#include <stdint.h>

/* What every exported header declares, of which these are the names of a model called "model". */
#define MODEL_INPUT_SIZE 1
#define MODEL_OUTPUT_SIZE 1

typedef struct {
  int16_t state[1];
} model_state;

void model_reset(model_state *state);
void model_step(model_state *state, const int16_t *input);
void model_output(const model_state *state, int16_t *logits);
uint16_t model_classify(const model_state *state);
