"""Files that somebody else made: read, checked, inspected and run, and never believed."""
