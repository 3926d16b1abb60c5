"""The tutorial's code exercises: each answered by a command, its numbers, and a bound that they must meet."""
