"""The code exercises of "Building a GPT from Scratch": a command answers each with numbers and a bound."""
