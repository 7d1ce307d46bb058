"""The chip, the compiler's generations, and the hosts, as data."""
