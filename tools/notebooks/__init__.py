"""From a chapter's MyST source to the executed notebook that Colab opens and nbval re-runs.

``python -m notebooks build`` copies shown code from the package into ``chapters/*.md``, derives a
plain-Markdown notebook from each chapter, executes it, normalises it and writes it. ``python -m notebooks
check`` executes nothing and names every place where package, chapter and notebook have drifted apart.
"""
