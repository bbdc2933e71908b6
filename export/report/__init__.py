"""What came out of an export, and how exact it is: said, drawn and warned of."""
