"""The wind tunnel for GPT pretraining recipes."""

__version__ = "0.1.0"
