"""What every widget of the book shares.

How to add a widget
-------------------
1. Write ``src/transformer_book/widgets/NAME.py`` with one class, ``class Name(Widget)``. Its state is traits
   tagged ``sync=True``: plain numbers, strings and lists, small (a page carries them as JSON). Names that begin
   with an underscore are private to Python and do not reach the published page. Validate in the constructor and
   in ``@validate`` methods with the ``check_*`` helpers below, so that every error says expected and got.
2. Implement `Widget.describe`: sentences that tell a reader without JavaScript what the widget shows now. Call
   ``super().__init__(...)`` last in the constructor: it stores that text as the trait ``alternative``. Beside it
   the page puts a still picture where there is a trait ``_picture``, a dictionary with ``svg`` and ``alt``.
3. Write ``NAME.js`` beside it: one plain ES module, no bundler, no network, ending in
   ``export default { render };`` where ``render({ model, el })`` builds the view and returns a function that
   undoes it. Only a default export: anywidget warns in the reader's console about a bare ``export function
   render``. The module computes everything from the model (``model.get``, ``model.set`` then
   ``model.save_changes``, ``model.on("change:TRAIT")``), so it works with no kernel behind it. Draw only in
   answer to ``change:`` events: then two views of one model stay together, and so do Python and the page.
   Remember that ``model.set`` sees a list as changed only if it is a new list.
   What several widgets need stands in a module whose name begins with an underscore (``_elements.js`` makes
   elements, ``_network.js`` runs trained networks). Write ``import { make } from "./_elements.js";``: an editor
   follows it, and `read_module` puts that module's text in its place, because a page has no files to import.
   Names at the top level of the modules joined in this way must differ.
4. Put the arithmetic into pure functions and export them by name; ``tests/widgets/test_javascript.py`` runs them
   in Node on random inputs and compares with the package to 1e-5.
5. Style it in ``NAME.css`` if the shared ``_base.css`` is not enough. Everything stands inside ``.tb-root``; use
   the ``--w-*`` colours defined there, which follow the light and the dark theme of the page, of JupyterLab, of
   Colab and of VS Code. Use native controls with a ``<label>``, keep the focus ring, and put motion only inside
   ``@media (prefers-reduced-motion: no-preference)``.
6. Export the class in ``widgets/__init__.py`` and add it to ``tests/widgets/``: errors, ``observe``, arithmetic,
   and the notebook page that ``test_page.py`` builds and opens offline (mouse, keyboard, axe, 16 ms a frame).

Nothing has to be registered: the Sphinx extension ``book/extensions/static_widgets.py`` mounts any anywidget.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import anywidget
import traitlets

_SHARED_STYLE = Path(__file__).with_name("_base.css").read_text(encoding="utf-8")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)


def read_module(path: Path) -> str:
    """Read an ES module as one text: each import from its own folder is replaced by the module imported.

    Raises
    ------
    FileNotFoundError
        The module, or one that it imports, is missing.
    """
    return _IMPORT.sub(lambda found: read_module(path.with_name(found[1])), path.read_text(encoding="utf-8"))


class Widget(anywidget.AnyWidget):
    """One small Python class plus the ES module of the same name beside it.

    A subclass in ``NAME.py`` takes its front end from ``NAME.js`` and, where that file exists, its own style from
    ``NAME.css``. It is an ordinary ipywidget: `observe`, `link` and containers such as ``VBox`` work.

    Attributes
    ----------
    alternative : str
        What `describe` said when the widget was made; shown where no JavaScript runs.

    Raises
    ------
    FileNotFoundError
        On defining a subclass whose ``NAME.js`` is missing.
    """

    alternative = traitlets.Unicode(read_only=True).tag(sync=True)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Read the module and the style that stand beside the subclass."""
        source = getattr(sys.modules.get(cls.__module__), "__file__", None)
        # traitlets makes a further subclass for every instance; that one inherits what was read here.
        if "_esm" not in cls.__dict__ and not hasattr(cls, "_esm"):
            script = Path(source or "widget.py").with_suffix(".js")
            if not script.is_file():
                raise FileNotFoundError(f"{cls.__name__}: expected its ES module at {script}, found no such file")
            style = script.with_suffix(".css")
            cls._esm = read_module(script)
            cls._css = _SHARED_STYLE + (style.read_text(encoding="utf-8") if style.is_file() else "")
        super().__init_subclass__(**kwargs)  # type: ignore[arg-type]

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.set_trait("alternative", self.describe())

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        raise NotImplementedError(f"{type(self).__name__}: expected a describe() method")

    def __repr__(self) -> str:
        """Give the description; the same state gives the same text on every machine."""
        return f"{type(self).__name__}: {self.describe()}"

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """Give the whole description as the text alternative: anywidget 0.9 cuts it after 110 characters."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = repr(self)
        return bundle


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return `value` if it is an integer in low … high.

    Raises
    ------
    TypeError
        It is not an integer.
    ValueError
        It is outside the range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected an integer in {low} … {high}, got {value}")
    return value


def check_choice(name: str, value: object, choices: Sequence[object]) -> object:
    """Return `value` if it is among `choices`.

    Raises
    ------
    ValueError
        It is not.
    """
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
