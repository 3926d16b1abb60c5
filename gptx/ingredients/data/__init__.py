"""Text becomes tokens once, and a batch is a pure function of its position in the run."""
