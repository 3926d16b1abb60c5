"""The run folder: what a run says of itself, and the interface between the commands.

run.json        state, recipe, data, git, code, versions, hardware, result
config.yaml     the resolved config
overrides.yaml  what was typed
tokenizer.json  tokens to text and back
metrics.jsonl   every step
code_*.patch    uncommitted changes of the code that the config builds, from that step on
train.log       what the terminal showed, and details
process.log     what its process printed, if a sweep or a study started it
checkpoints/    full states
"""
