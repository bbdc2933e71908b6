"""TFLite files: their schema, and graphs written as one."""
