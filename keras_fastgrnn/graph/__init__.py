"""From a Keras model to the operators of one time step, and what these compute in NumPy."""
