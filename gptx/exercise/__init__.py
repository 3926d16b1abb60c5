"""The code exercises of "Building a GPT from Scratch", chapter 15: each answered by a command, its numbers, and a bound that they must meet."""
