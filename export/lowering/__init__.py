"""From the graph of a trained model to the graph of integers that the device computes."""
