"""The C and C++ around a model: its bytes, its operators, its ends, and a self-test."""
