"""Slides of the chapters, for a browser without a network: ``make slides`` writes them into `_build/slides`.

The built pages are where everything is already as it shall be shown: executed, typeset, highlighted, with its
figures. What of a page goes on slides is decided by rule (`choose`), how much of it on each by measuring it in
Chromium (`fit`), and at the end every slide of every deck is opened and measured once more. reveal.js comes from
npm, in the version of `package.json`.
"""
