"""TFLite Micro on this machine: runs a file, here or in a process of its own."""
