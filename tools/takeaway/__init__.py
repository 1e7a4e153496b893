"""The book to take away: one PDF and one EPUB, made from the built pages (`make pdf`, `make epub`)."""
