"""Roundings that TFLite Micro does not have, which the tests must find."""

TRUNCATING = {
    "rounding_shift": lambda values, exponent: values >> exponent,
    "doubling_high_multiply": lambda values, multiplier: (values * multiplier) >> 31,
}
