#pragma once

#include "model.h"

uint16_t model_classify(const model_state *state) {
  int16_t logit;
  model_output(state, &logit);
  return logit > 0;
}
