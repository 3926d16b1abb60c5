"""The tutorial's code exercises, answered by what gptx has: a number that passes or fails, and a figure each."""
