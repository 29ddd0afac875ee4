"""Speed comparisons with other programs, behind `kimivl bench NAME`: both sides do the same work in turns, in one process."""
