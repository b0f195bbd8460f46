"""Word vectors that training reads."""
