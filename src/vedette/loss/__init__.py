"""Which cell and anchor answers for which box, and what a wrong answer costs."""
