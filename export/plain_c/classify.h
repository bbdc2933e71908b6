#pragma once

#include "model.h"

uint16_t model_classify(const model_state *state) {
  int16_t logits[MODEL_OUTPUT_SIZE];
  uint16_t best = 0;
  model_output(state, logits);
  for (uint16_t i = 1; i < MODEL_OUTPUT_SIZE; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}
