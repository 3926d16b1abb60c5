"""Networks: from tokens to the logits of the next ones.

A model is an `nn.Module` made with `vocab_size`, whose `forward` takes tokens (B, T) to logits (B, T, vocab_size), and
which has `context`, the most tokens that it reads. It may offer `blocks` (an nn.ModuleList: memory=recompute,
parallel=fsdp and observe=activations need it), `width` and `output_scale` (parametrization=mup), `head` (decay),
`forward(tokens, then=...)` (objective=chunked), and `flops_per_token()`, without which 6 FLOPs a parameter count.
"""
