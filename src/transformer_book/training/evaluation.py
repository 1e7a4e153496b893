"""What a trained model writes, and how much of it is right."""

from collections.abc import Sequence

from transformer_book.decoding import beam_search, greedy_decode
from transformer_book.tasks.bleu import bleu, chrf
from transformer_book.tasks.metrics import error_rate, exact_match, token_accuracy
from transformer_book.tasks.task import Example, Task, collate
from transformer_book.tasks.translation import Translation
from transformer_book.training.models import Model


def predict(
    model: Model, task: Task, sources: Sequence[Sequence[str]], batch_size: int = 256, beam_size: int = 1
) -> list[list[str]]:
    """Write the target of each source, greedily or by beam search.

    Parameters
    ----------
    model
        Trained on `task`; computes where it is.
    task
        Gives the vocabularies and the longest target.
    sources
        Sequences of symbols; ``task.parse(text)`` makes one from what a person types.
    batch_size
        Sequences decoded at once.
    beam_size
        Beginnings kept of each; 1 is greedy. More have the length penalty that `beam_search` has by itself.

    Returns
    -------
    list of list of str
        Symbols of each prediction, in the order of `sources`.

    Raises
    ------
    ValueError
        A source is empty or has a symbol that the task does not know, or `beam_size` is below 1.
    """
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))  # little padding in a batch
    predictions: list[list[str]] = [[]] * len(sources)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        examples = [Example(sources[index], "") for index in indices]
        batch = collate(examples, task.source_vocabulary, task.target_vocabulary, device)
        if beam_size == 1:
            ids = greedy_decode(model, batch.source, task.max_target_length)  # the same, in fewer operations
        else:
            ids, _ = beam_search(model, batch.source, beam_size, task.max_target_length)
        for index, row in zip(indices, ids.tolist(), strict=True):
            predictions[index] = task.target_vocabulary.decode(row)
    return predictions


def evaluate(
    model: Model, task: Task, examples: Sequence[Example], batch_size: int = 256, beam_size: int = 1
) -> dict[str, float]:
    """Compare what a model writes with the targets.

    Parameters
    ----------
    model, task, batch_size, beam_size
        As for `predict`.
    examples
        At least one.

    Returns
    -------
    dict of float
        ``exact_match``, ``token_accuracy`` and ``error_rate``; see `transformer_book.tasks.metrics`. Of
        translations also ``bleu`` and ``chrf``, computed on the texts; see `transformer_book.tasks.bleu`.

    Raises
    ------
    ValueError
        There are no examples, the task does not know a symbol, or `beam_size` is below 1.
    """
    predictions = predict(model, task, [example.source for example in examples], batch_size, beam_size)
    targets = [example.target for example in examples]
    metrics = {
        "exact_match": exact_match(predictions, targets),
        "token_accuracy": token_accuracy(predictions, targets),
        "error_rate": error_rate(predictions, targets),
    }
    if isinstance(task, Translation):
        texts, references = [*map(task.text, predictions)], [*map(task.text, targets)]
        metrics |= {"bleu": bleu(texts, references).value, "chrf": chrf(texts, references).value}
    return metrics
