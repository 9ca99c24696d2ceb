"""How machine code is made, stored and reached."""
