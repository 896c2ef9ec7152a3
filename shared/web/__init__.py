"""Pages for people: templates, styles, translations and the views that fill them, shared by every service."""
