"""Every command of gptx:  python -m gptx   lists them, python -m gptx COMMAND --help says what one takes."""

import runpy
import sys

COMMANDS = {
    "train": ("gptx.train", "train a recipe, or a sweep of them"),
    "sample": ("gptx.commands.sample", "let a run write text"),
    "report": ("gptx.report.__main__", "compare runs: verdict, tables, figures"),
    "status": ("gptx.sweeps.status", "how far a sweep is"),
    "rerun": ("gptx.commands.rerun", "train a run again, with the same config"),
    "diff": ("gptx.commands.diff", "where two runs part"),
    "forensics": ("gptx.commands.forensics", "which text a loss spike was trained on"),
    "plan": ("gptx.plan.__main__", "what a budget buys, what a recipe costs"),
    "fit": ("gptx.fit.__main__", "fit a law to finished runs"),
    "study": ("gptx.sweeps.study", "search for good values"),
    "exercise": ("gptx.exercise.__main__", "answer an exercise of the tutorial"),
    "export": ("gptx.commands.export", "write the weights of a run as safetensors"),
    "upload": ("gptx.commands.upload", "send finished runs to W&B"),
    "bench": ("gptx.bench.steps", "measure the speed of training"),
    "formats": ("gptx.commands.formats", "number formats and what each can hold"),
    "reference": ("gptx.commands.reference", "the default recipe as a table, with reasons"),
    "pages": ("gptx.report.readme", "write the pages of experiments again"),
}
BENCH = {"saves", "tokens", "observers", "wandb"}


def main() -> None:
    """Run the command that the first word names."""
    words = sys.argv[1:]
    if not words or words[0] in ("help", "-h", "--help"):
        print("\n".join(f"  {name:10} {sentence}" for name, (_, sentence) in COMMANDS.items()))
        return
    name, *rest = words
    if name not in COMMANDS:
        raise SystemExit(f"error: {name}: no such command; python -m gptx lists them")
    module = COMMANDS[name][0]
    if name == "bench" and rest and rest[0] in BENCH:
        module = f"gptx.bench.{rest.pop(0)}"
    sys.argv = [name, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
